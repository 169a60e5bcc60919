/* The table of rules on networks against that of all rules. */
#include "sim/train/vit_merge.h"

#include "tests/support/close.h"

/* A rule is here if and only if it is no function of task vectors. */
static void test_rows(void **state)
{
    int found = 0;
    (void)state;
    for (int i = 0; i < fc_merge_count; i++) {
        const fc_merge_method *m = fc_merge_table[i];
        const fc_vit_rule *r = fc_vit_rule_find(m->name);
        found += r != NULL;
        if ((r != NULL) != (m->experts || m->needs & FC_MERGE_NEEDS_IMAGES))
            fail_msg("%s: row in vit_rule_table.def: %s", m->name, r ? "yes" : "no");
        if (r && m->combine)
            fail_msg("%s: also a function of task vectors", m->name);
    }
    assert_int_equal(found, fc_vit_rule_count);
    assert_null(fc_vit_rule_find("average"));
}

/* What a rule leaves out has to fit together. */
static void test_members(void **state)
{
    (void)state;
    for (int i = 0; i < fc_vit_rule_count; i++) {
        const fc_vit_rule *r = fc_vit_rule_table[i];
        const fc_merge_method *m = fc_merge_find(r->name);
        print_message("%s\n", r->name);
        assert_non_null(r->make);
        assert_true((r->write != NULL) == (r->read != NULL));
        assert_true((r->extra != NULL) == m->experts); /* beside one backbone */
        assert_true(!r->expert || m->experts);
        assert_true(!r->write || m->experts);
        assert_true(!r->expert_acts || r->write);
        assert_true((r->flop != NULL) == ((m->needs & FC_MERGE_NEEDS_IMAGES) != 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_members)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
