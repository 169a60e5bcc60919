/* Configs: who wins, what is inherited, what a changed method leaves behind, the dump and the hash.
 */
#include "sim/config/config.h"

#include "core/merge/merge.h"
#include "sim/methods/method.h"
#include "tests/support/close.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

/* A file of that name in the test's own folder; its path stays valid until the next but seven. */
static const char *put(const char *name, const char *text)
{
    static char path[8][128];
    static int next;
    char *p = path[next++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    FILE *f = fopen(p, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return p;
}

/* Load path (may be NULL) with up to three overrides; NULL ends them. */
static fc_status load(fc_config *c, const char *path, const char *a, const char *b, fc_error *err)
{
    char one[512], two[512], *list[] = {one, two};
    snprintf(one, sizeof one, "%s", a ? a : "");
    snprintf(two, sizeof two, "%s", b ? b : "");
    return fc_config_load(c, path, list, (a != NULL) + (b != NULL), err);
}

static void load_ok(fc_config *c, const char *path, const char *a, const char *b)
{
    fc_error err = {0};
    fc_status st = load(c, path, a, b, &err);
    if (st != FC_OK)
        print_error("%s\n", err.msg);
    assert_int_equal(st, FC_OK);
}

static void load_fails(const char *path, const char *a, const char *b, const char *message)
{
    fc_config c;
    fc_error err = {0};
    assert_int_equal(load(&c, path, a, b, &err), FC_EUSAGE);
    print_message("%s\n", err.msg);
    assert_non_null(strstr(err.msg, message));
}

/* The value of "section.key" in the dump. */
static void assert_dumped(fc_config *c, const char *name, const char *want)
{
    char section[64], key[64], got[512] = "(absent)";
    assert_int_equal(sscanf(name, "%63[^.].%63s", section, key), 2);
    fc_error err = {0};
    const char *text = fc_config_dump(c, false, &err);
    assert_non_null(text);
    char head[80];
    snprintf(head, sizeof head, "%s%s:\n", strncmp(text, section, strlen(section)) == 0 ? "" : "\n",
             section);
    const char *at = strstr(text, head);
    assert_non_null(at);
    at += strlen(head);
    snprintf(head, sizeof head, "  %s: ", key);
    for (; *at == ' '; at = strchr(at, '\n') + 1)
        if (strncmp(at, head, strlen(head)) == 0)
            snprintf(got, sizeof got, "%.*s", (int)strcspn(at + strlen(head), "\n"),
                     at + strlen(head));
    assert_string_equal(got, want);
}

static void test_defaults(void **state)
{
    (void)state;
    fc_config c;
    load_ok(&c, NULL, NULL, NULL);
    assert_string_equal(c.method->name, "lorm");
    assert_string_equal(c.rule->name, c.method->rule);
    assert_close(c.fed.beta, 0.5, 0, 0);
    assert_string_equal(c.tasks.class_order.word, "natural");
    assert_int_equal(c.tasks.sizes.n, 0);
    assert_null(c.tasks.sizes.word);
    assert_true(fc_seed(&c, c.seed.init) == 0);
    fc_config_free(&c);
    fc_config_free(&c);
}

/* a includes b and c, b includes d; order of application d, b, c, a, command line. */
static void test_precedence(void **state)
{
    (void)state;
    char sub[80];
    snprintf(sub, sizeof sub, "%s/sub", dir);
    mkdir(sub, 0700);
    put("d.yaml", "train: {lr: 1, batch: 1, epochs: 1, warmup: 0.1, beta1: 0.1}\n");
    put("sub/b.yaml", "base: ../d.yaml\ntrain: {lr: 2, batch: 2, epochs: 2, warmup: 0.2}\n");
    put("c.yaml", "base: []\ntrain: {lr: 3, batch: 3, epochs: 3}\n");
    const char *a = put("a.yaml", "train: {lr: 4, batch: 4}\nbase: [sub/b.yaml, c.yaml]\n");
    fc_config c;
    load_ok(&c, a, "train.lr=5", NULL);
    assert_close(c.train.lr, 5, 0, 0);
    assert_int_equal(c.train.batch, 4);
    assert_int_equal(c.train.epochs, 3);
    assert_close(c.train.warmup, 0.2, 0, 0);
    assert_close(c.train.beta1, 0.1, 0, 0);
    fc_config_free(&c);

    load_ok(&c, a, "train.lr=5", "train.lr=6"); /* on the command line the last word counts */
    assert_close(c.train.lr, 6, 0, 0);
    fc_config_free(&c);

    /* one file reached twice is no loop */
    load_ok(&c, put("twice.yaml", "base: [sub/b.yaml, d.yaml]\n"), NULL, NULL);
    assert_close(c.train.lr, 1, 0, 0);
    fc_config_free(&c);

    /* what a later file overrides is checked all the same */
    put("bad.yaml", "train: {lr: fast}\n");
    load_fails(put("over.yaml", "base: bad.yaml\ntrain: {lr: 1}\n"), NULL, NULL,
               "bad.yaml:1:13: train.lr");
}

/* Types come from the table, whatever the spelling. */
static void test_types(void **state)
{
    (void)state;
    fc_config c;
    load_ok(
        &c,
        put("types.yaml",
            "run: {name: 123, out: null, seed: \"7\"}\ntrain: {lr: '1e-3', epochs: 010}\n"
            "merge: {weighted: \"false\"}\n# empty sections are fine\nfed:\neval:\n  # every: 3\n"
            "tasks:\n  sizes:\n    - 5\n    - 7\n  class_order: 2,0,1\n"),
        NULL, NULL);
    assert_string_equal(c.run.name, "123");
    assert_string_equal(c.run.out, "null");
    assert_int_equal(c.run.seed, 7);
    assert_close(c.train.lr, 1e-3, 0, 0);
    assert_int_equal(c.train.epochs, 10);
    assert_false(c.merge.weighted);
    assert_int_equal(c.tasks.sizes.n, 2);
    assert_int_equal(c.tasks.sizes.v[1], 7);
    assert_int_equal(c.tasks.class_order.n, 3);
    assert_null(c.tasks.class_order.word);
    fc_config_free(&c);
}

static void test_paths(void **state)
{
    (void)state;
    setenv("FC_DATA_DIR", "/big/disk", 1);
    fc_config c;
    char here[128];
    snprintf(here, sizeof here, "%s/near.bin", dir);
    put("near.bin", "x");
    load_ok(&c,
            put("paths.yaml",
                "data: {path: \"$FC_DATA_DIR/c100\"}\nrun: {name: $FC_DATA_DIR, out: near.bin}\n"
                "backbone: {weights: near.bin, pretrain: far.bin}\n"),
            NULL, NULL);
    assert_string_equal(c.data.path, "/big/disk/c100");
    assert_string_equal(c.run.name, "$FC_DATA_DIR"); /* text, no path */
    assert_string_equal(c.backbone.weights, here);   /* found beside the file that names it */
    assert_string_equal(c.backbone.pretrain, "far.bin");
    assert_string_equal(c.run.out, "near.bin"); /* an output is relative to where the user is */
    fc_config_free(&c);
}

static void test_seeds(void **state)
{
    (void)state;
    fc_config c;
    load_ok(&c, NULL, "run.seed=9000000000000000", "seed.order=3");
    assert_true(fc_seed(&c, c.seed.init) == 9000000000000000u);
    assert_true(fc_seed(&c, c.seed.order) == 3);
    fc_config_free(&c);
    load_ok(&c, NULL, "run.seed=5", "seed.order=0");
    assert_true(fc_seed(&c, c.seed.init) == 5);
    assert_true(fc_seed(&c, c.seed.order) == 0);
    fc_config_free(&c);
}

/* Options of a method below the level that changed the method are left behind; elsewhere they are
 * errors. */
static void test_method_change(void **state)
{
    (void)state;
    fc_config c;
    const char *lorm = put("lorm.yaml", "method: {name: lorm, alpha_head: 0.25}\n");
    load_ok(&c, lorm, NULL, NULL);
    assert_dumped(&c, "method.alpha_head", "0.25");
    fc_config_free(&c);

    load_ok(&c, lorm, "method.name=fedavg_lora", NULL); /* command line above file */
    assert_string_equal(c.method->name, "fedavg_lora");
    assert_string_equal(c.rule->name, c.method->rule);
    assert_dumped(&c, "method.alpha_head", "(absent)");
    fc_config_free(&c);

    const char *fedavg = put("fedavg.yaml", "base: lorm.yaml\nmethod: {name: fedavg_lora}\n");
    load_ok(&c, fedavg, NULL, NULL); /* file above file */
    assert_string_equal(c.method->name, "fedavg_lora");
    fc_config_free(&c);

    load_fails(
        put("same.yaml", "method: {alpha_head: 0.5, name: fedavg_lora}\n"), NULL, NULL,
        "same.yaml:1:10: method.alpha_head is an option of lorm, but the method is fedavg_lora");
    load_fails(put("above.yaml", "base: fedavg.yaml\nmethod: {alpha_head: 0.5}\n"), NULL, NULL,
               "above.yaml:2:10");
    load_fails(lorm, "method.name=fedavg_lora", "method.alpha_head=1",
               "argument 2: method.alpha_head is an option of lorm");
    /* saying the same name again changes nothing; a typo is never left behind */
    put("foreign.yaml", "method: {cl_merge: run_sum}\n");
    load_fails(put("again_lorm.yaml", "base: foreign.yaml\nmethod: {name: lorm}\n"), NULL, NULL,
               "foreign.yaml:1:10: method.cl_merge is an option of fedavg_lora");
    put("typo.yaml", "method: {alhpa_head: 0.5}\n");
    load_fails(put("again.yaml", "base: typo.yaml\nmethod: {name: lorm}\n"), NULL, NULL,
               "did you mean method.alpha_head?");
    load_fails(put("other.yaml", "base: typo.yaml\nmethod: {name: fedavg_lora}\n"), NULL, NULL,
               "typo.yaml:1:10: unknown key");
}

static void test_rule(void **state)
{
    (void)state;
    fc_config c;
    load_ok(&c, NULL, "method.name=fedavg_lora", "merge.rule=regmean");
    assert_string_equal(c.rule->name, "regmean");
    assert_dumped(&c, "merge.rule", "regmean");
    fc_config_free(&c);
    /* the method's own rule is not pinned, so that configs made from the dump may change the method
     */
    load_ok(&c, NULL, "merge.rule=lorm", NULL);
    assert_string_equal(c.rule->name, "lorm");
    assert_dumped(&c, "merge.rule", "\"\" # the method's own: lorm");
    fc_config_free(&c);
    load_fails(NULL, "merge.rule=lrom", NULL, "did you mean lorm?");
}

static void test_unknown_keys(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"train.lrr=1", "argument 1: unknown key 'train.lrr', did you mean train.lr?"},
        {"fed.lr=1", "did you mean train.lr?"},
        {"trian.batch=1", "did you mean train.batch?"},
        {"evla.rounds=all", "did you mean eval.rounds?"},
        {"lr=1", "did you mean train.lr?"},
        {"epochs=1", "did you mean train.epochs?"},
        {"batches=1", "did you mean train.batch?"},
        {"train.optimiser=sgd", "did you mean train.optimizer?"},
        {"seeds.init=1", "did you mean seed.init?"},
        {"method.rule=lorm", "did you mean merge.rule?"},
        {"train=1", "'train' is a section"},
        {"zzzz.qqqqqqq=1", "expected one of run, seed, data, "},
        {"log.qqqqqqqqq=1", "expected one of partition, clients"},
        {"a.b.c=1", "unknown key 'a.b.c'"},
        {"=1", "unknown key ''"},
        {"train.lr", "expected section.key=value"},
        {"base=x.yaml", "unknown key 'base'"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        load_fails(NULL, table[i][0], NULL, table[i][1]);
    load_fails("/no/such/file.yaml", NULL, NULL, "/no/such/file.yaml: No such file");
}

/* Values that a careless writer of YAML would break. */
static const char *const round_trips[] = {
    "run.name=yes",
    "run.name=",
    "run.name= padded ",
    "run.name=a: b",
    "run.name=a #b",
    "run.name=-",
    "run.name=- a",
    "run.name=\"quoted\\\"",
    "run.name='",
    "run.name=[x",
    "run.name={x}",
    "run.name=*x",
    "run.name=&x",
    "run.name=!x",
    "run.name=x:",
    "run.name=%x",
    "run.name=@x",
    "run.name=`x",
    "run.name=|",
    "run.name=>",
    "run.name=?",
    "run.name=~",
    "run.name=null",
    "run.name=---",
    "run.name=...",
    "run.name=1e3",
    "run.name=Zürich 数 𝔽",
    "run.out=a$$b",
    "run.out=$$",
    "run.out=$FC_ODD/x",
    "run.out=~/x",
    "run.out=a\\nb",
    "train.lr=0.1",
    "train.lr=1e-300",
    "train.lr=0.30000000000000004",
    "run.seed=9000000000000000",
    "tasks.sizes=[]",
    "tasks.sizes=3",
    "tasks.sizes=3,4,5",
    "tasks.class_order=seed:1993",
    "tasks.class_order=[1, 0]",
    "train.optimizer=sgd",
    "merge.weighted=false",
    "method.alpha_head=0.125",
    "method.name=fedavg_lora",
    "method.name=joint",
    "data.name=cifar100",
};

static void test_round_trip(void **state)
{
    (void)state;
    setenv("FC_ODD", "x~$x y", 1);
    for (size_t i = 0; i < sizeof round_trips / sizeof *round_trips; i++) {
        print_message("%s\n", round_trips[i]);
        for (int explain = 0; explain < 2; explain++) {
            fc_config c, again;
            fc_error err = {0};
            char hash[9], hash_again[9];
            load_ok(&c, NULL, round_trips[i], NULL);
            const char *text = fc_config_dump(&c, explain, &err);
            assert_non_null(text);
            load_ok(&again, put("dump.yaml", text), NULL, NULL);
            assert_string_equal(fc_config_dump(&again, explain, &err), text);
            assert_string_equal(again.run.name, c.run.name);
            assert_string_equal(again.run.out, c.run.out);
            assert_ptr_equal(again.method, c.method);
            assert_ptr_equal(again.rule, c.rule);
            assert_int_equal(fc_config_hash(hash, &c, &err), FC_OK);
            assert_int_equal(fc_config_hash(hash_again, &again, &err), FC_OK);
            assert_string_equal(hash, hash_again);
            fc_config_free(&again);
            fc_config_free(&c);
        }
    }
}

static void test_hash(void **state)
{
    (void)state;
    static const char *const same[] = {
        "run.name=x",     "run.out=x",       "run.threads=3",       "run.checkpoint_s=1",
        "data.path=x",    "data.root=x",     "log.partition=false", "log.clients=false",
        "pretrain.out=x", "merge.rule=lorm", "train.lr=3e-4",       "backbone.weights=x",
    };
    static const char *const other[] = {
        "run.seed=1",         "seed.order=1",         "data.name=cifar100",
        "train.lr=0.1",       "method.alpha_head=1",  "method.name=fedavg_lora",
        "merge.rule=average", "fed.beta=0.1",         "tasks.class_order=seed:1",
        "backbone.width=32",  "merge.weighted=false",
    };
    char hash[9], h[9];
    fc_config c;
    fc_error err = {0};
    load_ok(&c, NULL, NULL, NULL);
    assert_int_equal(fc_config_hash(hash, &c, &err), FC_OK);
    assert_int_equal(strspn(hash, "0123456789abcdef"), 8);
    fc_config_free(&c);
    for (size_t i = 0; i < sizeof same / sizeof *same + sizeof other / sizeof *other; i++) {
        bool is_same = i < sizeof same / sizeof *same;
        const char *set = is_same ? same[i] : other[i - sizeof same / sizeof *same];
        print_message("%s\n", set);
        load_ok(&c, NULL, set, NULL);
        assert_int_equal(fc_config_hash(h, &c, &err), FC_OK);
        assert_int_equal(strcmp(h, hash) == 0, is_same);
        fc_config_free(&c);
    }
}

/* Inclusions that multiply (2^15 readings) or go ever deeper are cut off. */
static void test_too_many_bases(void **state)
{
    (void)state;
    for (int i = 0; i < 15; i++) {
        char name[32], text[64];
        snprintf(name, sizeof name, "m%d.yaml", i);
        snprintf(text, sizeof text, "base: [m%d.yaml, ./m%d.yaml]\n", i + 1, i + 1);
        put(name, text);
    }
    put("m15.yaml", "train: {lr: 1}\n");
    char first[128];
    snprintf(first, sizeof first, "%s/m0.yaml", dir);
    load_fails(first, NULL, NULL, "more than 256 files");
    for (int i = 0; i < 20; i++) {
        char name[32], text[64];
        snprintf(name, sizeof name, "n%d.yaml", i);
        snprintf(text, sizeof text, "base: n%d.yaml\n", i + 1);
        put(name, text);
    }
    snprintf(first, sizeof first, "%s/n0.yaml", dir);
    load_fails(first, NULL, NULL, "more than 16 deep");
}

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/fcil-config-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),       cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_types),          cmocka_unit_test(test_paths),
        cmocka_unit_test(test_seeds),          cmocka_unit_test(test_method_change),
        cmocka_unit_test(test_rule),           cmocka_unit_test(test_unknown_keys),
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_hash),
        cmocka_unit_test(test_too_many_bases),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir) != 0;
}
