/* Option rows: text to fields and back. Types come from the row, never from the spelling.
 *
 * The only reader of environment variables outside core/base/threads.c and main: PATH values name
 * them.
 */
#include "core/base/opt.h"

#include <assert.h>
#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_MAX = 63, NUMBER_MAX = 64, SHOWN_MAX = 60 };

static void *field(void *base, const fc_opt *o)
{
    return (char *)base + o->offset;
}

static const void *const_field(const void *base, const fc_opt *o)
{
    return (const char *)base + o->offset;
}

/* Shortest decimal text that reads back as v; whole numbers of readable size without exponent. */
static const char *real_text(double v, char buf[32])
{
    if (fabs(v) < 1e10 && v == floor(v)) {
        snprintf(buf, 32, "%.0f", v);
        return buf;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(buf, 32, "%.*g", digits, v);
        if (strtod(buf, NULL) == v)
            break;
    }
    return buf;
}

/* The next word of a '|' list: its length, *rest moved behind it. 0 at the end. */
static size_t next_word(const char **rest, const char **word)
{
    *word = *rest;
    size_t n = strcspn(*rest, "|");
    *rest += n + ((*rest)[n] == '|');
    return n;
}

/* "a, b or c" from "a|b|c", with `last` = " or "; a pattern "seed:*" is shown as "seed:N". */
static void words_text(char *buf, size_t size, const char *choices, const char *last)
{
    size_t used = 0;
    const char *word, *rest = choices;
    for (size_t n; (n = next_word(&rest, &word)) > 0 && used < size;) {
        bool pattern = word[n - 1] == '*';
        const char *comma = word == choices ? "" : *rest ? ", " : last;
        used += (size_t)snprintf(buf + used, size - used, "%s%.*s%s", comma, (int)n - pattern, word,
                                 pattern ? "N" : "");
    }
}

const char *fc_opt_expected(const fc_opt *o, char *buf, size_t size)
{
    char low[32], high[32], range[96], words[256] = "";
    real_text(o->low, low);
    real_text(o->high, high);
    if (o->open_low)
        snprintf(range, sizeof range, "above %s, at most %s", low, high);
    else
        snprintf(range, sizeof range, "from %s to %s", low, high);
    if (o->choices)
        words_text(words, sizeof words, o->choices, o->type == FC_OPT_INTS ? ", " : " or ");

    switch (o->type) {
    case FC_OPT_INT:
    case FC_OPT_SEED:
        snprintf(buf, size, "a whole number %s", range);
        break;
    case FC_OPT_REAL:
        snprintf(buf, size, "a number %s", range);
        break;
    case FC_OPT_BOOL:
        snprintf(buf, size, "true or false");
        break;
    case FC_OPT_TEXT:
        snprintf(buf, size, "text");
        break;
    case FC_OPT_PATH:
    case FC_OPT_INPUT:
        snprintf(buf, size, "a path");
        break;
    case FC_OPT_CHOICE:
        snprintf(buf, size, "%s", words);
        break;
    case FC_OPT_INTS:
        snprintf(buf, size, "%s%sa list of whole numbers %s", words, *words ? " or " : "", range);
        break;
    }
    return buf;
}

/* where: found 'text', expected ...; did you mean ...? */
static fc_status fail_wrong(const fc_opt *o, const char *text, const char *where, fc_error *err)
{
    char want[512], copy[512], hint[WORD_MAX + 32] = "";
    fc_opt_expected(o, want, sizeof want);
    if (o->choices) {
        const char *list[32];
        int n = 0;
        char *save = NULL;
        snprintf(copy, sizeof copy, "%s", o->choices);
        for (char *w = strtok_r(copy, "|", &save); w && n < 32; w = strtok_r(NULL, "|", &save))
            if (!strchr(w, '*'))
                list[n++] = w;
        const char *near = fc_nearest(text, list, n);
        if (near)
            snprintf(hint, sizeof hint, "; did you mean %.63s?", near);
    }
    return fc_fail(err, FC_EUSAGE, "%s: found '%.*s%s', expected %s%s", where, SHOWN_MAX, text,
                   strlen(text) > SHOWN_MAX ? "..." : "", want, hint);
}

/* [+-]digits, at most 18 of them, so that int64_t cannot overflow. */
static bool whole_number_of(int64_t *v, const char *s, size_t n)
{
    bool negative = n > 0 && s[0] == '-';
    size_t i = n > 0 && (s[0] == '-' || s[0] == '+');
    if (i == n || n - i > 18)
        return false;
    int64_t sum = 0;
    for (; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        sum = 10 * sum + (s[i] - '0');
    }
    *v = negative ? -sum : sum;
    return true;
}

static bool real_number(double *v, const char *s)
{
    size_t n = strlen(s);
    if (n == 0 || n > NUMBER_MAX || strspn(s, "0123456789+-.eE") != n)
        return false; /* also keeps out nan, inf, hexadecimal and blanks */
    char *end;
    *v = strtod(s, &end) + 0.0; /* -0 becomes 0 */
    return end == s + n && isfinite(*v);
}

static bool in_range(const fc_opt *o, double v)
{
    return (o->open_low ? v > o->low : v >= o->low) && v <= o->high;
}

static bool in_range_int(const fc_opt *o, int64_t v)
{
    assert(o->low >= INT_MIN && o->high <= INT_MAX);
    return in_range(o, (double)v);
}

/* Length of the printable UTF-8 character at s, 0 if there is none. Refused, beside bad bytes:
 * controls, line and paragraph separators, byte order marks and non-characters, so that each text
 * survives a YAML file. */
static size_t printable(const unsigned char *s)
{
    if (s[0] < 0x80)
        return s[0] >= 0x20 && s[0] != 0x7f;
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    static const uint32_t lowest[] = {0, 0, 0xa0, 0x800, 0x10000};
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    uint32_t c = s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    bool surrogate = c >= 0xd800 && c <= 0xdfff;
    bool special = c == 0x2028 || c == 0x2029 || c == 0xfeff || (c & 0xfffe) == 0xfffe;
    return c < lowest[n] || c > 0x10ffff || surrogate || special ? 0 : n;
}

static fc_status check_text(const char *text, const char *where, fc_error *err)
{
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        size_t n = printable(s);
        if (n == 0)
            return fc_fail(err, FC_EUSAGE,
                           "%s: byte %zu is 0x%02x, expected printable UTF-8 characters only",
                           where, (size_t)(s - (const unsigned char *)text) + 1, *s);
        s += n;
    }
    return FC_OK;
}

/* The value of the variable whose name follows a '$'; *s moves behind it. */
static fc_status variable(const char **value, const char **s, const char *where, fc_error *err)
{
    const char *name = *s;
    bool brace = *name == '{';
    name += brace;
    size_t n = 0;
    while (isalnum((unsigned char)name[n]) || name[n] == '_')
        n++;
    char copy[256];
    if (n == 0 || n >= sizeof copy || isdigit((unsigned char)*name) || (brace && name[n] != '}'))
        return fc_fail(err, FC_EUSAGE,
                       "%s: found '$%.20s', expected $NAME or ${NAME}; a dollar sign is $$", where,
                       *s);
    memcpy(copy, name, n);
    copy[n] = '\0';
    *value = getenv(copy);
    if (!*value)
        return fc_fail(err, FC_EUSAGE, "%s: the environment variable %s is not set", where, copy);
    *s = name + n + brace;
    return FC_OK;
}

/* Length of text with its variables replaced, written to out unless that is NULL. */
static fc_status expand(char *out, size_t *length, const char *text, const char *where,
                        fc_error *err)
{
    *length = 0;
    for (const char *s = text; *s;) {
        const char *piece = s++;
        size_t n = 1;
        if (*piece == '$' && *s == '$') {
            s++;
        } else if (*piece == '$') {
            FC_TRY(variable(&piece, &s, where, err));
            n = strlen(piece);
        }
        if (out)
            memcpy(out + *length, piece, n);
        *length += n;
    }
    return FC_OK;
}

static fc_status set_path(const char **out, const char *text, const char *where, fc_arena *arena,
                          fc_error *err)
{
    size_t n;
    FC_TRY(expand(NULL, &n, text, where, err));
    char *path = fc_arena_alloc(arena, n + 1, 1, err);
    if (!path)
        return FC_EFAIL;
    FC_TRY(expand(path, &n, text, where, err));
    if (*path == '~') {
        const char *home = getenv("HOME");
        if (path[1] != '\0' && path[1] != '/')
            return fc_fail(err, FC_EUSAGE, "%s: found '%.60s', expected ~ or ~/...", where, path);
        if (!home)
            return fc_fail(err, FC_EUSAGE, "%s: found ~, but the variable HOME is not set", where);
        char *full = fc_arena_alloc(arena, strlen(home) + n, 1, err);
        if (!full)
            return FC_EFAIL;
        memcpy(full, home, strlen(home));
        memcpy(full + strlen(home), path + 1, n); /* with the final zero */
        path = full;
    }
    FC_TRY(check_text(path, where, err));
    *out = path;
    return FC_OK;
}

static bool choice(int *index, const char *choices, const char *text)
{
    const char *word, *rest = choices;
    size_t length = strlen(text);
    *index = 0;
    for (size_t n; (n = next_word(&rest, &word)) > 0; ++*index)
        if (n == length && memcmp(word, text, n) == 0)
            return true;
    return false;
}

/* The canonical spelling of text if it is one of the words or fits a pattern "prefix:*", else NULL
 * with err untouched or, out of memory, set. */
static const char *word_of(const char *choices, const char *text, fc_arena *arena, fc_error *err)
{
    const char *word, *rest = choices ? choices : "";
    size_t length = strlen(text);
    for (size_t n; (n = next_word(&rest, &word)) > 0;) {
        int64_t v;
        if (n == length && word[n - 1] != '*' && memcmp(word, text, n) == 0)
            return fc_arena_strdup(arena, text, err);
        if (word[n - 1] == '*' && length >= n && memcmp(word, text, n - 1) == 0 &&
            whole_number_of(&v, text + n - 1, length - n + 1) && v >= 0) {
            char buf[WORD_MAX + 24];
            snprintf(buf, sizeof buf, "%.*s%lld", (int)n - 1, word, (long long)v);
            return fc_arena_strdup(arena, buf, err);
        }
    }
    return NULL;
}

/* "[1, 2, 3]" or "1,2,3" */
static fc_status set_list(fc_ints *out, const fc_opt *o, const char *text, const char *where,
                          fc_arena *arena, fc_error *err)
{
    const char *s = text, *end = text + strlen(text);
    bool bracket = *s == '[';
    if (bracket) {
        if (end[-1] != ']' || end - s < 2)
            return fail_wrong(o, text, where, err);
        s++;
        end--;
    }
    size_t count = 1;
    for (const char *p = s; p < end; p++)
        count += *p == ',';
    fc_ints list = {.v = fc_arena_alloc(arena, count, sizeof *list.v, err)};
    if (!list.v)
        return FC_EFAIL;
    bool empty = bracket && (size_t)(end - s) == strspn(s, " ");
    for (; !empty && list.n < (int)count; list.n++) {
        s += strspn(s, " ");
        size_t n = strcspn(s, ",] ");
        int64_t v;
        if (!whole_number_of(&v, s, n) || !in_range_int(o, v)) {
            char element[SHOWN_MAX + 1], at[512];
            if (!bracket && count == 1)
                return fail_wrong(o, text, where, err);
            fc_opt number = *o;
            number.type = FC_OPT_INT;
            number.choices = NULL;
            snprintf(element, sizeof element, "%.*s", (int)(n < SHOWN_MAX ? n : SHOWN_MAX), s);
            snprintf(at, sizeof at, "%s: element %d", where, list.n + 1);
            return fail_wrong(&number, element, at, err);
        }
        list.v[list.n] = (int)v;
        s += n;
        s += strspn(s, " ");
        if (s != end && *s++ != ',')
            return fail_wrong(o, text, where, err);
    }
    *out = list;
    return FC_OK;
}

static fc_status set_ints(fc_ints *out, const fc_opt *o, const char *text, const char *where,
                          fc_arena *arena, fc_error *err)
{
    fc_error mine = {0};
    const char *word = word_of(o->choices, text, arena, &mine);
    if (mine.code != FC_OK)
        return fc_fail(err, mine.code, "%s", mine.msg);
    if (!word)
        return set_list(out, o, text, where, arena, err);
    *out = (fc_ints){.word = word};
    return FC_OK;
}

fc_status fc_opt_set(void *base, const fc_opt *o, const char *text, const char *where,
                     fc_arena *arena, fc_error *err)
{
    void *f = field(base, o);
    int64_t whole;
    double real;
    int index;
    switch (o->type) {
    case FC_OPT_INT:
        if (!whole_number_of(&whole, text, strlen(text)) || !in_range_int(o, whole))
            return fail_wrong(o, text, where, err);
        *(int *)f = (int)whole;
        return FC_OK;
    case FC_OPT_SEED:
        if (!whole_number_of(&whole, text, strlen(text)) || !in_range(o, (double)whole))
            return fail_wrong(o, text, where, err);
        *(int64_t *)f = whole;
        return FC_OK;
    case FC_OPT_REAL:
        if (!real_number(&real, text) || !in_range(o, real))
            return fail_wrong(o, text, where, err);
        *(double *)f = real;
        return FC_OK;
    case FC_OPT_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            return fail_wrong(o, text, where, err);
        *(bool *)f = *text == 't';
        return FC_OK;
    case FC_OPT_CHOICE:
        if (!choice(&index, o->choices, text))
            return fail_wrong(o, text, where, err);
        *(int *)f = index;
        return FC_OK;
    case FC_OPT_TEXT: {
        FC_TRY(check_text(text, where, err));
        const char *copy = fc_arena_strdup(arena, text, err);
        if (!copy)
            return FC_EFAIL;
        *(const char **)f = copy;
        return FC_OK;
    }
    case FC_OPT_PATH:
    case FC_OPT_INPUT:
        return set_path(f, text, where, arena, err);
    case FC_OPT_INTS:
        return set_ints(f, o, text, where, arena, err);
    }
    return fc_fail(err, FC_EFAIL, "%s: option type %d is unknown", where, (int)o->type);
}

fc_status fc_opt_defaults(void *base, const fc_opt *rows, int n, fc_arena *arena, fc_error *err)
{
    for (int i = 0; i < n; i++) {
        char where[WORD_MAX + 32];
        snprintf(where, sizeof where, "default of %.63s", rows[i].key);
        FC_TRY(fc_opt_set(base, &rows[i], rows[i].def, where, arena, err));
    }
    return FC_OK;
}

static const char *list_text(const fc_ints *l, fc_arena *arena, fc_error *err)
{
    if (l->word)
        return l->word;
    size_t size = 3 + 13 * (size_t)l->n; /* "-2147483648, " */
    char *buf = fc_arena_alloc(arena, size, 1, err);
    if (!buf)
        return NULL;
    size_t used = (size_t)snprintf(buf, size, "[");
    for (int i = 0; i < l->n; i++)
        used += (size_t)snprintf(buf + used, size - used, "%s%d", i ? ", " : "", l->v[i]);
    snprintf(buf + used, size - used, "]");
    return buf;
}

/* Dollar signs doubled, so that set_path reads the same path. */
static const char *path_text(const char *path, fc_arena *arena, fc_error *err)
{
    char *buf = fc_arena_alloc(arena, 2 * strlen(path) + 1, 1, err);
    for (char *p = buf; p && *path; path++) {
        *p++ = *path;
        if (*path == '$')
            *p++ = '$';
    }
    return buf;
}

const char *fc_opt_print(const void *base, const fc_opt *o, fc_arena *arena, fc_error *err)
{
    const void *f = const_field(base, o);
    char buf[WORD_MAX + 1];
    switch (o->type) {
    case FC_OPT_INT:
        snprintf(buf, sizeof buf, "%d", *(const int *)f);
        break;
    case FC_OPT_SEED:
        snprintf(buf, sizeof buf, "%lld", (long long)*(const int64_t *)f);
        break;
    case FC_OPT_REAL:
        real_text(*(const double *)f, buf);
        break;
    case FC_OPT_BOOL:
        return *(const bool *)f ? "true" : "false";
    case FC_OPT_CHOICE:
        fc_opt_choice(o, *(const int *)f, buf, sizeof buf);
        break;
    case FC_OPT_TEXT:
        return *(const char *const *)f;
    case FC_OPT_PATH:
    case FC_OPT_INPUT:
        return path_text(*(const char *const *)f, arena, err);
    case FC_OPT_INTS:
        return list_text(f, arena, err);
    }
    return fc_arena_strdup(arena, buf, err);
}

const char *fc_opt_choice(const fc_opt *o, int index, char *buf, size_t size)
{
    const char *word, *rest = o->choices;
    size_t n = next_word(&rest, &word);
    while (index-- > 0)
        n = next_word(&rest, &word);
    snprintf(buf, size, "%.*s", (int)n, word);
    return buf;
}

/* Edits (insert, delete, replace, swap of neighbours) from a to b, both at most WORD_MAX long. */
static int edit_distance(const char *a, const char *b)
{
    int row[3][WORD_MAX + 1]; /* rows i-2, i-1, i of the table, by i % 3 */
    int m = (int)strlen(a), n = (int)strlen(b);
    for (int j = 0; j <= n; j++)
        row[0][j] = j;
    for (int i = 1; i <= m; i++) {
        int *now = row[i % 3];
        const int *above = row[(i + 2) % 3], *above2 = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= n; j++) {
            int best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                above2[j - 2] + 1 < best)
                best = above2[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[m % 3][n];
}

const char *fc_nearest(const char *word, const char *const *candidates, int n)
{
    const char *nearest = NULL;
    if (strlen(word) > WORD_MAX)
        return NULL;
    int best = (int)strlen(word) / 2 + 1;
    for (int i = 0; i < n; i++) {
        if (strlen(candidates[i]) > WORD_MAX)
            continue;
        int d = edit_distance(word, candidates[i]);
        if (d < best) {
            best = d;
            nearest = candidates[i];
        }
    }
    return nearest;
}
