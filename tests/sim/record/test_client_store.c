/* The file of what clients keep: what is put comes back, records that a checkpoint refers to stay
 * as they are, damage is seen. */
#include "sim/record/client_store.h"

#include "tests/support/tmp.h"

#include <string.h>

enum { CLIENTS = 5, MOST = 2, NUMBERS = 3, BYTES = 8 + 4 * NUMBERS };

typedef struct fixture {
    fc_tmp tmp;
    fc_arena arena;
    fc_client_store s;
    int64_t record[CLIENTS], before[CLIENTS];
    fc_error err;
} fixture;

static void open_store(fixture *f, bool fresh)
{
    assert_int_equal(fc_client_store_init(&f->s, NUMBERS, CLIENTS, MOST, &f->arena, &f->err),
                     FC_OK);
    assert_int_equal(fc_client_store_open(&f->s, f->tmp.dir, fresh, &f->err), FC_OK);
}

static void open_fixture(fixture *f)
{
    *f = (fixture){.tmp = fc_tmp_new()};
    for (int i = 0; i < CLIENTS; i++)
        f->record[i] = f->before[i] = -1;
    open_store(f, true);
}

static void close_fixture(fixture *f)
{
    fc_client_store_close(&f->s);
    fc_arena_free(&f->arena);
    fc_tmp_remove(&f->tmp);
}

static void begin(fixture *f, bool reset)
{
    fc_client_store_round(&f->s, f->record, f->before, reset);
}

static void put(fixture *f, int client, float x)
{
    const float own[NUMBERS] = {x, -x, x + 1};
    assert_int_equal(fc_client_store_put(&f->record[client], &f->s, client, own, &f->err), FC_OK);
}

static void assert_holds(fixture *f, int client, int64_t record, float x)
{
    float own[NUMBERS] = {7, 7, 7};
    if (fc_client_store_get(own, &f->s, client, record, &f->err) != FC_OK)
        fail_msg("%s", f->err.msg);
    assert_true(own[0] == x && own[1] == -x && own[2] == (record < 0 ? 0 : x + 1));
}

static size_t read_file(const fixture *f, unsigned char *out, size_t max)
{
    FILE *file = fopen(f->s.path, "rb");
    assert_non_null(file);
    size_t n = fread(out, 1, max, file);
    fclose(file);
    return n;
}

static void test_get_what_was_put(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f);
    begin(&f, false);
    assert_holds(&f, 3, f.record[3], 0); /* before the first */
    put(&f, 3, 10);
    put(&f, 1, 20);
    assert_holds(&f, 3, f.record[3], 10);
    assert_holds(&f, 1, f.record[1], 20);
    assert_holds(&f, 0, f.record[0], 0);
    assert_int_equal(fc_client_store_sync(&f.s, &f.err), FC_OK);
    fc_client_store_close(&f.s);
    open_store(&f, false); /* the next process */
    assert_holds(&f, 3, f.record[3], 10);
    close_fixture(&f);
}

/* Three clients in turn, two per round: what the last two checkpoints refer to is whole all the
 * time. */
static void test_last_two_checkpoints_stay(void **state)
{
    (void)state;
    fixture f;
    float now[CLIENTS] = {0}, last[CLIENTS] = {0};
    int64_t at[CLIENTS], at_last[CLIENTS];
    open_fixture(&f);
    memcpy(at, f.record, sizeof at);
    memcpy(at_last, f.record, sizeof at);
    for (int round = 0; round < 12; round++) {
        float next[CLIENTS];
        begin(&f, false);
        memcpy(next, now, sizeof next);
        for (int j = 0; j < MOST; j++) {
            int client = (round * MOST + j) % 3;
            put(&f, client, next[client] = (float)(100 * round + j));
            for (int i = 0; i < CLIENTS; i++) { /* a kill here loses nothing */
                assert_holds(&f, i, at[i], now[i]);
                assert_holds(&f, i, at_last[i], last[i]);
            }
        }
        memcpy(at_last, at, sizeof at);
        memcpy(last, now, sizeof now);
        memcpy(at, f.record, sizeof at);
        memcpy(now, next, sizeof now);
        assert_memory_equal(f.before, at_last, sizeof at);
    }
    unsigned char file[4096];
    assert_true(read_file(&f, file, sizeof file) <= (3 + 2 * MOST) * BYTES);
    close_fixture(&f);
}

static void test_lowest_free_record(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f);
    begin(&f, false);
    put(&f, 0, 1);
    put(&f, 1, 2);
    begin(&f, false);
    put(&f, 0, 3);
    begin(&f, false); /* 0 and 1 by the checkpoint before the last, 2 by the last */
    put(&f, 0, 4);
    assert_int_equal(f.record[0], 3);
    begin(&f, false); /* record 0 is free: client 0 stood there three rounds ago */
    put(&f, 2, 5);
    put(&f, 0, 6);
    assert_int_equal(f.record[2], 0);
    assert_int_equal(f.record[1], 1);
    assert_int_equal(f.record[0], 4);
    close_fixture(&f);
}

static void test_reset(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f);
    begin(&f, false);
    put(&f, 0, 1);
    put(&f, 4, 2);
    begin(&f, true);
    for (int i = 0; i < CLIENTS; i++)
        assert_holds(&f, i, f.record[i], 0);
    assert_holds(&f, 4, f.before[4], 2); /* the last checkpoint is whole */
    put(&f, 4, 3);
    assert_int_equal(f.record[4], 2);
    assert_holds(&f, 4, f.before[4], 2);
    begin(&f, false);
    put(&f, 3, 4);
    assert_int_equal(f.record[3], 3);
    begin(&f, false);
    put(&f, 3, 5); /* nobody refers to what was before the reset */
    assert_int_equal(f.record[3], 0);
    close_fixture(&f);
}

/* All that one rule of records allows: every client twice, and as many as change in a round. */
static void test_full(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f);
    for (int round = 0; round < 40; round++) {
        begin(&f, round % 7 == 6);
        for (int j = 0; j < MOST; j++) {
            int client = (round * MOST + j) % CLIENTS;
            put(&f, client, (float)round);
            assert_in_range(f.record[client], 0, 2 * CLIENTS + MOST - 1);
        }
    }
    close_fixture(&f);
}

static void flip(const fixture *f, long at)
{
    FILE *file = fopen(f->s.path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    int c = fgetc(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    fputc(c ^ 1, file);
    fclose(file);
}

static void assert_damaged(fixture *f, int client, int64_t record)
{
    float own[NUMBERS];
    fc_status s = fc_client_store_get(own, &f->s, client, record, &f->err);
    assert_says(s, &f->err, FC_ECKPT, "clients.bin: record ", "is not what was written");
}

static void test_damage(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f);
    begin(&f, false);
    put(&f, 2, 1);
    put(&f, 0, 2);
    for (long at = BYTES; at < 2L * BYTES; at++) {
        flip(&f, at);
        assert_damaged(&f, 0, f.record[0]);
        assert_holds(&f, 2, f.record[2], 1);
        flip(&f, at);
    }
    assert_holds(&f, 0, f.record[0], 2);
    assert_damaged(&f, 2, f.record[0]); /* of another client */
    assert_damaged(&f, 2, 2);           /* behind the end */
    assert_damaged(&f, 2, 1 << 20);
    assert_int_equal(truncate(f.s.path, 2 * BYTES - 1), 0);
    assert_damaged(&f, 0, f.record[0]);
    close_fixture(&f);
}

static void test_fresh_is_empty(void **state)
{
    (void)state;
    fixture f;
    unsigned char file[4096];
    open_fixture(&f);
    begin(&f, false);
    put(&f, 2, 1);
    fc_client_store_close(&f.s);
    open_store(&f, false);
    assert_int_equal(read_file(&f, file, sizeof file), BYTES);
    fc_client_store_close(&f.s);
    open_store(&f, true);
    assert_int_equal(read_file(&f, file, sizeof file), 0);
    close_fixture(&f);
}

/* A round that was killed half way and is made again leaves the same bytes. */
static void test_bytes_do_not_depend_on_kills(void **state)
{
    (void)state;
    unsigned char file[2][4096];
    size_t n[2];
    for (int killed = 0; killed < 2; killed++) {
        fixture f;
        open_fixture(&f);
        for (int round = 0; round < 6; round++) {
            int64_t record[CLIENTS], before[CLIENTS];
            memcpy(record, f.record, sizeof record);
            memcpy(before, f.before, sizeof before);
            for (int again = 0; again <= killed; again++) {
                memcpy(f.record, record, sizeof record);
                memcpy(f.before, before, sizeof before);
                if (again) {
                    fc_client_store_close(&f.s);
                    open_store(&f, false);
                }
                begin(&f, round == 3);
                put(&f, round % CLIENTS, (float)round);
                if (again || !killed)
                    put(&f, (round + 2) % CLIENTS, (float)-round);
            }
        }
        n[killed] = read_file(&f, file[killed], sizeof file[0]);
        close_fixture(&f);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(file[0], file[1], n[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get_what_was_put),
        cmocka_unit_test(test_last_two_checkpoints_stay),
        cmocka_unit_test(test_lowest_free_record),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_fresh_is_empty),
        cmocka_unit_test(test_bytes_do_not_depend_on_kills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
