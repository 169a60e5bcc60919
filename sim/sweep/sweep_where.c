/* Conditions of a sweep, by recursive descent:
 *
 *   either  = both { "or" both }
 *   both    = one { "and" one }
 *   one     = "not" one | "(" either ")" | term compare term | term "in" "[" term { "," term } "]"
 *   term    = section.key | word | number | "text"
 *
 * Every part is read and checked, whether or not it decides. */
#include "sim/sweep/sweep_parts.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_MAX = 200, NESTING_MAX = 50 };

typedef struct term {
    const fc_opt *opt; /* NULL: a value */
    fc_setting name;   /* of an option */
    const char *text;  /* NULL: an option that this config does not have */
} term;

typedef struct parser {
    const char *text, *at; /* the condition and its place */
    const char *p;         /* what follows the token in hand */
    char token[WORD_MAX + 1];
    bool quoted;
    int depth;
    const fc_config_field *field;
    int n_fields;
    fc_config *config;
    fc_arena *arena;
    fc_error *err;
} parser;

static fc_status refuse_token(parser *p, const char *expected)
{
    bool end = !*p->token && !p->quoted;
    return fc_fail(p->err, FC_EUSAGE, "%.300s: where: found %s%.60s%s after '%.*s', expected %s",
                   p->at, end ? "the end" : "'", p->token, end ? "" : "'",
                   (int)(p->p - p->text) - (int)strlen(p->token), p->text, expected);
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || (c && strchr("_.+-:/~", c));
}

/* The next token; "" at the end. */
static fc_status next_token(parser *p)
{
    p->p += strspn(p->p, " \t\n");
    const char *start = p->p;
    size_t n = 0;
    p->quoted = *start == '"' || *start == '\'';
    if (p->quoted) {
        n = strcspn(++start, *p->p == '"' ? "\"" : "'");
        if (start[n] == '\0')
            return fc_fail(p->err, FC_EUSAGE, "%.300s: where: %.60s has no closing quote", p->at,
                           p->p);
        p->p = start + n + 1;
    } else {
        while (is_word(start[n]))
            n++;
        if (n == 0 && *start)
            n = strchr("=!<>", *start) && start[1] == '=' ? 2 : 1;
        p->p = start + n;
    }
    if (n > WORD_MAX)
        return fc_fail(p->err, FC_EUSAGE, "%.300s: where: a word of %zu bytes, expected at most %d",
                       p->at, n, WORD_MAX);
    snprintf(p->token, sizeof p->token, "%.*s", (int)n, start);
    return FC_OK;
}

static bool at_token(const parser *p, const char *token)
{
    return !p->quoted && strcmp(p->token, token) == 0;
}

/* An option is a word with a dot that begins with a letter. */
static fc_status read_term(term *t, parser *p)
{
    *t = (term){0};
    const char *c = p->token;
    if (!p->quoted && !is_word(*c))
        return refuse_token(p, "an option or a value");
    t->text = fc_arena_strdup(p->arena, c, p->err);
    if (!t->text)
        return FC_EFAIL;
    if (!p->quoted && isalpha((unsigned char)*c) && strchr(c, '.')) {
        fc_yaml none = {.text = "", .file = ""};
        FC_TRY(fc_sweep_setting(&t->name, t->text, p->at, &none, p->arena, p->err));
        t->opt = fc_setting_option(&t->name);
        if (!t->opt)
            return fc_setting_unknown(p->config, &t->name, p->err);
        const fc_config_field *f =
            fc_config_find(p->field, p->n_fields, t->name.section, t->name.key);
        t->text = f ? fc_opt_print(f->base, f->opt, p->arena, p->err) : NULL;
        if (f && !t->text)
            return FC_EFAIL;
    }
    return next_token(p);
}

static bool is_number(const term *t)
{
    return t->opt->type == FC_OPT_INT || t->opt->type == FC_OPT_REAL || t->opt->type == FC_OPT_SEED;
}

/* A value beside a number is a number, beside another option one that it could have; two options
 * are of one kind. */
static fc_status match_term(term *t, const term *option, parser *p)
{
    if (!t->opt && is_number(option)) {
        static const fc_opt number = {.type = FC_OPT_REAL, .low = -1e300, .high = 1e300};
        double v;
        char where[512];
        snprintf(where, sizeof where, "%.300s: where: %s.%s", p->at, option->name.section,
                 option->name.key);
        return fc_opt_set(&v, &number, t->text, where, p->arena, p->err);
    }
    if (!t->opt) {
        fc_setting s = option->name;
        s.at = p->at;
        s.text = t->text;
        return fc_setting_canonical(&t->text, &s, p->arena, p->err);
    }
    if (is_number(t) != is_number(option))
        return fc_fail(p->err, FC_EUSAGE,
                       "%.300s: where: %s.%s and %s.%s cannot be compared: one is a number", p->at,
                       t->name.section, t->name.key, option->name.section, option->name.key);
    return FC_OK;
}

/* -1, 0, 1: a before, equal to, behind b; 2: one of them is not there. */
static fc_status compare_terms(int *order, term *a, term *b, bool sorts, parser *p)
{
    const term *option = a->opt ? a : b;
    if (!option->opt)
        return fc_fail(
            p->err, FC_EUSAGE,
            "%.300s: where: '%.60s' and '%.60s' are both values, expected an option such "
            "as train.lr",
            p->at, a->text, b->text);
    FC_TRY(match_term(option == a ? b : a, option, p));
    if (sorts && !is_number(option))
        return fc_fail(p->err, FC_EUSAGE,
                       "%.300s: where: %s.%s is no number, expected == or != behind it", p->at,
                       option->name.section, option->name.key);
    if (!a->text || !b->text) {
        *order = 2;
    } else if (is_number(option)) {
        double x = strtod(a->text, NULL), y = strtod(b->text, NULL);
        *order = (x > y) - (x < y);
    } else {
        *order = strcmp(a->text, b->text) != 0;
    }
    return FC_OK;
}

/* "[a, b]" behind "in" */
static fc_status read_in(bool *holds, term *a, parser *p)
{
    *holds = false;
    if (!at_token(p, "["))
        return refuse_token(p, "[");
    do {
        term b;
        int order;
        FC_TRY(next_token(p));
        FC_TRY(read_term(&b, p));
        FC_TRY(compare_terms(&order, a, &b, false, p));
        *holds = *holds || order == 0;
    } while (at_token(p, ","));
    return at_token(p, "]") ? next_token(p) : refuse_token(p, ", or ]");
}

static fc_status read_comparison(bool *holds, parser *p)
{
    static const struct {
        const char *text;
        bool before, same, behind, missing; /* holds where a is that to b; or one is not there */
        bool sorts;                         /* of numbers only */
    } operators[] = {{"==", .same = true},
                     {"!=", .before = true, .behind = true, .missing = true},
                     {"<", .before = true, .sorts = true},
                     {"<=", .before = true, .same = true, .sorts = true},
                     {">", .behind = true, .sorts = true},
                     {">=", .behind = true, .same = true, .sorts = true}};
    enum { N = sizeof operators / sizeof *operators };
    term a, b;
    int op = 0, order;
    FC_TRY(read_term(&a, p));
    if (at_token(p, "in")) {
        FC_TRY(next_token(p));
        return read_in(holds, &a, p);
    }
    while (op < N && !at_token(p, operators[op].text))
        op++;
    if (op == N)
        return refuse_token(p, "==, !=, <, <=, >, >= or in");
    FC_TRY(next_token(p));
    FC_TRY(read_term(&b, p));
    FC_TRY(compare_terms(&order, &a, &b, operators[op].sorts, p));
    *holds = order == -1  ? operators[op].before
             : order == 0 ? operators[op].same
             : order == 1 ? operators[op].behind
                          : operators[op].missing;
    return FC_OK;
}

static fc_status read_either(bool *holds, parser *p);

static fc_status read_one(bool *holds, parser *p)
{
    bool negated = at_token(p, "not");
    if (!negated && !at_token(p, "("))
        return read_comparison(holds, p);
    if (++p->depth > NESTING_MAX)
        return refuse_token(p, "fewer parentheses");
    FC_TRY(next_token(p));
    FC_TRY(negated ? read_one(holds, p) : read_either(holds, p));
    p->depth--;
    *holds = *holds != negated;
    if (negated)
        return FC_OK;
    return at_token(p, ")") ? next_token(p) : refuse_token(p, "and, or or )");
}

static fc_status read_both(bool *holds, parser *p)
{
    FC_TRY(read_one(holds, p));
    while (at_token(p, "and")) {
        bool more;
        FC_TRY(next_token(p));
        FC_TRY(read_one(&more, p));
        *holds = *holds && more;
    }
    return FC_OK;
}

static fc_status read_either(bool *holds, parser *p)
{
    FC_TRY(read_both(holds, p));
    while (at_token(p, "or")) {
        bool more;
        FC_TRY(next_token(p));
        FC_TRY(read_both(&more, p));
        *holds = *holds || more;
    }
    return FC_OK;
}

fc_status fc_where_holds(bool *holds, const char *text, const char *at, fc_config *c,
                         fc_arena *arena, fc_error *err)
{
    parser p = {.text = text, .at = at, .p = text, .config = c, .arena = arena, .err = err};
    p.field = fc_config_fields(c, &p.n_fields, err);
    if (!p.field)
        return FC_EFAIL;
    FC_TRY(next_token(&p));
    FC_TRY(read_either(holds, &p));
    return *p.token || p.quoted ? refuse_token(&p, "and, or or the end") : FC_OK;
}
