#include "sim/draw/page.h"

#include "core/base/file.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* --- frame -------------------------------------------------------------------------------------
 */

/* Colours that figures share with sim/draw/plot.c follow these: --l0 .. of lines, --t0 .. of
 * labels. */
static const char light[] =
    ":root{--bg:#fff;--ink:#1a1a1a;--soft:#595959;--axis:#444;--rule:#dcdcdc;--panel:#f4f5f7;"
    "--heat:#6fb3ec;--good:#00653f;--bad:#a02c00";

/* On dark ground lighter ones of the same hue. */
static const char style[] =
    "@media screen and (prefers-color-scheme:dark){:root{--bg:#14161a;--ink:#e8e8e8;--soft:#a9adb3;"
    "--axis:#a9adb3;--rule:#373b42;--panel:#1e2126;--heat:#1d5f97;--good:#58d6a0;--bad:#ff9466;"
    "--l0:#4aa9ec;--l1:#ff8540;--l2:#2cc99b;--l3:#e397c2;--l4:#f2b632;--l5:#8fd0ff;--l6:#eee;"
    "--l7:#9a9a9a;--t0:#6ebcf4;--t1:#ff9a60;--t2:#45d6ab;--t3:#eaa9cd;--t4:#f2c04f;--t5:#a3d9ff;"
    "--t6:#eee;--t7:#b0b0b0}}\n"
    "*{box-sizing:border-box}\n"
    "html{color-scheme:light dark}\n"
    "body{margin:0;background:var(--bg);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}\n"
    "main{max-width:80rem;margin:0 auto;padding:1rem}\n"
    "h1{font-size:1.6rem;line-height:1.2;margin:.5rem 0}\n"
    "h2{font-size:1.2rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--rule)}\n"
    "h3{font-size:1rem;margin:0 0 .25rem}\n"
    "h1,h2,p,figcaption,summary,li{overflow-wrap:anywhere}\n"
    "p{margin:.25rem 0;max-width:48rem}\n"
    ".soft,figcaption,caption,small{color:var(--soft)}\n"
    ".state{font-weight:600}.good{color:var(--good)}.bad{color:var(--bad)}\n"
    "code{font:.875em/1.4 ui-monospace,monospace;overflow-wrap:anywhere}\n"
    "progress{width:100%;max-width:24rem;height:.75rem;accent-color:var(--l0)}\n"
    ".cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.5rem,1fr));gap:.5rem;"
    "margin:1rem 0}\n"
    ".cards div{background:var(--panel);border-radius:.4rem;padding:.5rem .75rem}\n"
    ".cards dt{font-size:.875rem;color:var(--soft)}\n"
    ".cards dd{margin:0;font-size:1.4rem;line-height:1.3;font-variant-numeric:tabular-nums}\n"
    ".cards dd small{font-size:.875rem}\n"
    ".figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,22rem),1fr));"
    "gap:1.5rem}\n"
    "figure{margin:0;break-inside:avoid}\n"
    "figcaption{font-size:.875rem;max-width:36rem}\n"
    "figure svg g,figure svg tspan{font-family:inherit}\n"
    "figure svg{display:block;width:100%;height:auto;max-width:36rem}\n"
    ".scroll{overflow-x:auto;max-width:100%;margin:.5rem 0}\n"
    "table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}\n"
    "caption{text-align:left;padding:.25rem 0}\n"
    "caption span{position:sticky;left:0;display:inline-block;max-width:calc(100vw - 2rem)}\n"
    "th,td{padding:.25rem .5rem;text-align:right;white-space:nowrap;vertical-align:top;"
    "border-bottom:1px solid var(--rule)}\n"
    "th{font-weight:600}th.word,td.word{text-align:left}\n"
    "th.word{white-space:normal;overflow-wrap:anywhere;min-width:8rem}\n"
    "td small{display:block;white-space:pre}\n"
    ".matrix td,.matrix th{border:0;padding:.15rem .4rem}\n"
    ".matrix td.a{background:color-mix(in srgb,var(--heat) calc(var(--v)*1%),var(--bg));"
    "print-color-adjust:exact;-webkit-print-color-adjust:exact}\n"
    ".many{font-size:.7rem}.many td,.many th{padding:.1rem .2rem}\n"
    ".key{list-style:none;margin:.5rem 0;padding:0}\n"
    ".key b{display:inline-block;min-width:1.5rem}\n"
    "details{margin:.5rem 0}summary{cursor:pointer}\n"
    "pre{background:var(--panel);border-radius:.4rem;padding:.75rem;margin:.5rem 0;overflow:auto;"
    "max-height:30rem;font:.8125rem/1.4 ui-monospace,monospace;user-select:all;"
    "-webkit-user-select:all}\n"
    "pre.wrap{white-space:pre-wrap;overflow-wrap:anywhere}\n"
    ":focus-visible{outline:2px solid var(--l0);outline-offset:2px}\n"
    "@media print{@page{margin:15mm}html{font-size:11px}main{max-width:none;padding:0}"
    ".cards{grid-template-columns:repeat(4,1fr)}.figures{grid-template-columns:1fr 1fr}"
    ".scroll{overflow:visible}.scroll th{white-space:normal}"
    "h2,p:has(+pre){break-after:avoid}tr,.matrix,.cards div,pre.wrap{break-inside:avoid}"
    "pre{max-height:none;white-space:pre-wrap;overflow-wrap:anywhere}}\n";

/* ";--l0:#0072b2": in small letters, and #777 for #777777. */
static void put_colour(FILE *f, const char *name, int i, const char *colour)
{
    const char *c = colour + 1;
    bool pairs = c[0] == c[1] && c[2] == c[3] && c[4] == c[5];
    fprintf(f, ";--%s%d:#", name, i);
    for (int k = 0; k < 6; k += pairs ? 2 : 1)
        fputc(tolower((unsigned char)c[k]), f);
}

static void put_style(FILE *f)
{
    fputs(light, f);
    for (int i = 0; i < FC_PLOT_COLOURS; i++)
        put_colour(f, "l", i, fc_plot_colour(i));
    for (int i = 0; i < FC_PLOT_COLOURS; i++)
        put_colour(f, "t", i, fc_plot_text_colour(i));
    fprintf(f, "}\n%s", style);
}

void fc_page_begin(FILE *f, const char *title, int refresh_s)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n",
          f);
    if (refresh_s > 0)
        fprintf(f, "<meta http-equiv=\"refresh\" content=\"%d\"/>\n", refresh_s);
    fputs("<title>", f);
    fc_html_text(f, title);
    fputs("</title>\n<style>\n", f);
    put_style(f);
    fputs("</style>\n</head>\n<body>\n<main>\n", f);
}

void fc_page_end(FILE *f)
{
    fputs("</main>\n</body>\n</html>\n", f);
}

/* --- figures -----------------------------------------------------------------------------------
 */

/* The variable that stands for a colour of gnuplot's in the page; "" if it is not one of ours. */
static void variable_of(char name[8], int red, int green, int blue)
{
    const long rgb = (long)red << 16 | green << 8 | blue;
    snprintf(name, 8, "%s",
             rgb == 0x222222   ? "--ink"
             : rgb == 0x444444 ? "--axis"
             : rgb == 0xe4e4e4 ? "--rule"
                               : "");
    for (int i = 0; i < FC_PLOT_COLOURS; i++) {
        if (strtol(fc_plot_text_colour(i) + 1, NULL, 16) == rgb)
            snprintf(name, 8, "--t%d", i);
        if (strtol(fc_plot_colour(i) + 1, NULL, 16) == rgb)
            snprintf(name, 8, "--l%d", i);
    }
}

/* Leaves out attributes and elements that would clash between figures (ids) or tell nothing (titles
 * like "$d0 using 1:2"), and puts variables in the place of colours. */
static void put_svg(FILE *f, const char *c, const char *end)
{
    while (c < end) {
        int red, green, blue, length = 0;
        char name[8] = "";
        if (strncmp(c, "<title>", 7) == 0) {
            const char *close = strstr(c, "</title>");
            c = close ? close + 8 : end;
            continue;
        }
        if (strncmp(c, " id=\"gnuplot_", 13) == 0) {
            c += 5 + strcspn(c + 5, "\"") + 1;
            continue;
        }
        if (sscanf(c, "rgb(%d,%d,%d)%n", &red, &green, &blue, &length) == 3 && length > 0)
            variable_of(name, red, green, blue);
        if (*name) {
            fprintf(f, "var(%s)", name);
            c += length;
        } else {
            fputc(*c++, f);
        }
    }
}

static void put_figure(FILE *f, const fc_figure *figure, const char *svg, const char *end)
{
    double width, height;
    const char *box = strstr(svg, "viewBox=\"0 0 "), *start = strstr(svg, "</defs>");
    if (!box || sscanf(box + 13, "%lf %lf", &width, &height) != 2 || !start || start > end)
        return;
    fputs("<figure>\n<h3>", f);
    fc_html_text(f, figure->title);
    fprintf(f,
            "</h3>\n<svg viewBox=\"0 0 %g %g\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\" "
            "xmlns:xlink=\"http://www.w3.org/1999/xlink\">\n<title>",
            width, height);
    fc_html_text(f, figure->title);
    fputs("</title>\n<desc>", f);
    fc_html_text(f, figure->caption);
    fputs("</desc>\n<g>", f);
    put_svg(f, start + strlen("</defs>"), end);
    fputs("</svg>\n<figcaption>", f);
    fc_html_text(f, figure->caption);
    fputs("</figcaption>\n</figure>\n", f);
}

/* The symbols of gnuplot's points, which all figures refer to. */
static void put_symbols(FILE *f, const char *svg)
{
    const char *start = strstr(svg, "<defs>"), *end = strstr(svg, "</defs>");
    if (start && end)
        fprintf(f,
                "<svg width=\"0\" height=\"0\" aria-hidden=\"true\" style=\"position:absolute\" "
                "xmlns=\"http://www.w3.org/2000/svg\" "
                "xmlns:xlink=\"http://www.w3.org/1999/xlink\">%.*s</defs></svg>\n",
                (int)(end - start), start);
}

void fc_page_figures(FILE *f, fc_figure *figure, int n, fc_error *err)
{
    char *svg = NULL;
    size_t size;
    fc_plot *plot = malloc(((size_t)n + 1) * sizeof *plot);
    if (!plot) {
        fc_fail(err, FC_EFAIL, "figures: out of memory");
        return;
    }
    for (int i = 0; i < n; i++) {
        plot[i] = figure[i].plot;
        plot[i].width = FC_FIGURE_WIDTH;
        plot[i].height = FC_FIGURE_HEIGHT;
        plot[i].font = FC_FIGURE_FONT;
    }
    if (n > 0 && fc_plot_draw(&svg, &size, plot, n, FC_PLOT_SVG, err) != FC_OK)
        fputs("<p class=\"soft\">The pictures of this page are missing: gnuplot failed or is not "
              "installed.</p>\n",
              f);
    free(plot);
    if (!svg)
        return;
    put_symbols(f, svg);
    fputs("<div class=\"figures\">\n", f);
    const char *c = svg;
    for (int i = 0; i < n; i++) {
        const char *end = c ? strstr(c, "</svg>") : NULL;
        if (end)
            put_figure(f, &figure[i], c, end);
        c = end ? end + strlen("</svg>") : NULL;
    }
    fputs("</div>\n", f);
    free(svg);
}

/* --- tables and text to copy ---------------------------------------------------------------------
 */

void fc_page_scroll_begin(FILE *f, const char *title)
{
    fputs("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"", f);
    fc_html_text(f, title);
    fputs("\">\n", f);
}

void fc_page_scroll_end(FILE *f)
{
    fputs("</div>\n", f);
}

void fc_page_table(FILE *f, const fc_table *t)
{
    fc_page_scroll_begin(f, t->caption);
    fc_table_html(f, t);
    fc_page_scroll_end(f);
}

void fc_page_copy(FILE *f, const char *title, const char *text)
{
    fputs("<details><summary>", f);
    fc_html_text(f, title);
    fputs("</summary>\n<pre>", f);
    fc_html_text(f, text);
    fputs("</pre></details>\n", f);
}

static void copy_table(FILE *f, const char *title, const char *language,
                       void (*print)(FILE *, const fc_table *), const fc_table *t)
{
    char name[256];
    fc_draft copy;
    if (fc_draft_begin(&copy, NULL) != FC_OK)
        return;
    print(copy.f, t);
    snprintf(name, sizeof name, "%s as %s", title, language);
    if (fc_draft_end(&copy, NULL) == FC_OK)
        fc_page_copy(f, name, copy.text);
    fc_draft_free(&copy);
}

void fc_page_table_copies(FILE *f, const char *title, const fc_table *t, const fc_table *numbers)
{
    copy_table(f, title, "Markdown", fc_table_markdown, t);
    copy_table(f, title, "LaTeX", fc_table_latex, t);
    copy_table(f, title, "CSV", fc_table_csv, numbers ? numbers : t);
}
