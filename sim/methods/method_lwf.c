/* LwF: learning without forgetting. The model of the last task teaches the one of this task.
 *
 * Li and Hoiem, TPAMI 2018, arXiv 1606.09282; its federated form is the baseline of fed-mammoth
 * (Salami et al., ICLR 2025). From the second task on, for each image of a batch of N, z the logits
 * of the model and zt those of the teacher, over the columns of the task (old: of all tasks before
 * it):
 *
 *   q = softmax(zt / T),  p = softmax(z / T)
 *   loss   + (alpha / N) sum_x KD,  KD = -sum_c q_c log p_c;      d KD / d z_c = (p_c - q_c) / T
 *
 * without the factor T^2 of Hinton's form, as there: sqrt-smoothed probabilities are T = 2. The
 * baseline distils the columns of the task itself, for which the teacher's rows were never trained,
 * so that the head's old rows learn nothing of it: columns = current; old is what the paper has.
 * Full fine-tuning: the teacher is a whole model, and goes down beside the present one. */
#include "sim/methods/method.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define COLUMNS_CHOICES "current|old"
enum { CURRENT, OLD };

typedef struct options {
    double alpha, temperature;
    int columns;
} options;

static const fc_opt rows[] = {
    {.key = "alpha",
     .type = FC_OPT_REAL,
     .offset = offsetof(options, alpha),
     .def = "0.5",
     .low = 0,
     .high = 1e6,
     .help = "strength of the teacher"},
    {.key = "temperature",
     .type = FC_OPT_REAL,
     .offset = offsetof(options, temperature),
     .def = "2",
     .low = 1e-3,
     .high = 1e3,
     .help = "logits are divided by it"},
    {.key = "columns",
     .type = FC_OPT_CHOICE,
     .offset = offsetof(options, columns),
     .def = "current",
     .choices = COLUMNS_CHOICES,
     .help = "which logits the teacher teaches: those of the task, as the released code has it, or "
             "those of the tasks before it, as the paper has it"},
};

enum { TEACHER }; /* array: the model of the last task */

static int arrays(fc_array_spec *out, const fc_method_setup *s, const void *o)
{
    (void)o;
    out[TEACHER] = (fc_array_spec){.name = "teacher", .n = s->layout->n, .sent = FC_EACH_ROUND};
    return 1;
}

static bool has_teacher(const fc_method_setup *s, const void *o, int task)
{
    (void)s;
    return task > 0 && ((const options *)o)->alpha > 0;
}

/* log softmax(z / T)_c of the columns lo .. hi - 1 is z_c / T - this. */
static double log_sum(const fc_real *z, int lo, int hi, double T)
{
    double top = -INFINITY, sum = 0;
    for (int c = lo; c < hi; c++)
        top = fmax(top, (double)z[c] / T);
    for (int c = lo; c < hi; c++)
        sum += exp((double)z[c] / T - top);
    return top + log(sum);
}

static double distil(const fc_piece_slice *s)
{
    const options *o = s->client->options;
    int lo = o->columns == OLD ? 0 : s->lo, hi = o->columns == OLD ? s->lo : s->hi;
    double T = o->temperature, sum = 0;
    for (int i = 0; i < s->n; i++) {
        size_t at = (size_t)i * (size_t)s->classes;
        const fc_real *z = s->logits + at, *zt = s->teacher_logits + at;
        double norm = log_sum(z, lo, hi, T), norm_t = log_sum(zt, lo, hi, T);
        for (int c = lo; c < hi; c++) {
            double log_p = (double)z[c] / T - norm, q = exp((double)zt[c] / T - norm_t);
            sum -= o->alpha * q * log_p;
            s->dlogits[at + (size_t)c] += (fc_real)(o->alpha * (exp(log_p) - q) / T / s->batch);
        }
    }
    return sum;
}

static const fc_loss_term term = {
    .slice = distil, .teacher = FC_TEACHER_ARRAY, .teacher_array = TEACHER, .now = has_teacher};

static fc_status keep_model(fc_piece_server *v, fc_error *err)
{
    (void)err;
    memcpy(v->array[TEACHER].p, v->global, v->array[TEACHER].n * sizeof *v->global);
    return FC_OK;
}

static const fc_piece piece = {.arrays = arrays, .term = &term, .end_task = keep_model};

const fc_method fc_method_lwf = {
    .name = "lwf",
    .paper = "Li and Hoiem, TPAMI 2018, arXiv 1606.09282; federated: fed-mammoth",
    .help = "LwF: FedAvg of all parameters, taught by the model of the last task",
    .rule = "average",
    .trains = {.mode = FC_TRAIN_FULL},
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(options),
    .piece = &piece};
