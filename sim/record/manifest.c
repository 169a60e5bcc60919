#include "sim/record/manifest.h"

#include "sim/io/outfile.h"
#include "version.h"

#include <cblas.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

/* The value of the first line "key<blanks>separator value" of a text file of the system; "unknown"
 * if there is none. */
static void system_value(char *out, size_t n, const char *file, const char *key, char separator)
{
    char line[4096];
    snprintf(out, n, "unknown");
    FILE *f = fopen(file, "re");
    if (!f)
        return;
    while (fgets(line, sizeof line, f)) {
        char *value = strchr(line, separator);
        if (strncmp(line, key, strlen(key)) != 0 || !value)
            continue;
        value += 1 + strspn(value + 1, " \t\"");
        value[strcspn(value, "\"\n")] = '\0';
        snprintf(out, n, "%s", value);
        break;
    }
    fclose(f);
}

/* What the CPU has of the instruction sets that can change speed or bits. */
static json_t *cpu_isa(void)
{
    json_t *list = json_array();
#if defined __x86_64__
    __builtin_cpu_init();
    const struct {
        const char *name;
        int have;
    } set[] = {{"sse4.2", __builtin_cpu_supports("sse4.2")},
               {"avx", __builtin_cpu_supports("avx")},
               {"fma", __builtin_cpu_supports("fma")},
               {"avx2", __builtin_cpu_supports("avx2")},
               {"avx512f", __builtin_cpu_supports("avx512f")},
               {"avx512bw", __builtin_cpu_supports("avx512bw")},
               {"avx512vl", __builtin_cpu_supports("avx512vl")},
               {"avx512vnni", __builtin_cpu_supports("avx512vnni")},
               {"avx512bf16", __builtin_cpu_supports("avx512bf16")}};
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++)
        if (set[i].have)
            json_array_append_new(list, json_string(set[i].name));
#endif
    return list;
}

static json_t *host_json(void)
{
    char os[256], cpu[256];
    struct utsname u;
    system_value(os, sizeof os, "/etc/os-release", "PRETTY_NAME", '=');
    system_value(cpu, sizeof cpu, "/proc/cpuinfo", "model name", ':');
    if (uname(&u) != 0)
        u = (struct utsname){.release = "unknown", .machine = "unknown"};
    return json_pack("{s:o, s:s, s:s, s:o, s:o}", "os", fc_out_json_text(os), "kernel", u.release,
                     "machine", u.machine, "cpu", fc_out_json_text(cpu), "isa", cpu_isa());
}

static json_t *build_json(void)
{
#if defined __clang__
    const char *compiler = "clang " __clang_version__;
#else
    const char *compiler = "gcc " __VERSION__;
#endif
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i}", "version", FC_VERSION, "commit", FC_COMMIT,
                     "compiler", compiler, "blas", openblas_get_config(), "blas_core",
                     openblas_get_corename(), "blas_parallel", openblas_get_parallel());
}

static json_t *input_json(const fc_manifest *m)
{
    return json_pack(
        "{s:o, s:o, s:s, s:o, s:s, s:s, s:s, s:s}", "data", fc_out_json_text(m->data_name),
        "data_path", fc_out_json_text(m->data_path), "data_sha256", m->data_sha256, "weights_path",
        fc_out_json_text(m->weights_path), "weights_sha256", m->weights_sha256, "partition_sha256",
        m->partition_sha256, "config_hash", m->config_hash, "trace_sha256", m->trace_sha256);
}

fc_status fc_manifest_write(const char *dir, const fc_manifest *m, fc_error *err)
{
    char path[FC_PATH_MAX], start[32] = "unknown";
    FC_TRY(fc_out_path(path, err, "%s/manifest.json", dir));
    time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc))
        strftime(start, sizeof start, "%Y-%m-%dT%H:%M:%SZ", &utc);
    json_t *argv = json_array();
    for (int i = 0; i < m->argc; i++)
        json_array_append_new(argv, fc_out_json_text(m->argv[i]));
    json_t *o =
        json_pack("{s:s, s:o, s:i, s:i, s:s, s:s, s:o, s:o, s:o}", "start", start, "argv", argv,
                  "threads", m->threads, "ranks", m->ranks, "isa", m->isa, "precision",
                  m->precision, "build", build_json(), "host", host_json(), "input", input_json(m));
    return fc_out_json(path, o, err);
}
