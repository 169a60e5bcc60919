/* Models and adapters from files as task vectors (core/merge/combine.h), and their merge as a file.
 *
 * An input is an adapter folder (sim/models/adapter.h) or a whole model, of any architecture; a
 * whole model and the tensors that an adapter has as a whole need the base: tau = theta - theta_0.
 * A tensor that an input does not have is one that it did not change. Linear weights are the layers
 * of adapters and two-dimensional tensors whose names end in ".weight", but for embeddings
 * ("embed").
 *
 * The classifier, head.weight and head.bias, is not merged by the rule: inputs that know classes of
 * their own (sim/models/model_meta.h) keep their rows, one input below the other; where all have
 * the same classes, or say nothing and have the same shape, it is the mean.
 *
 * Used by fcil merge: open; load, and stats where the rule wants them; the rule, on f->set (or sum
 * in place of both); save. Where the rule needs a network, sim/models/merge_network.h stands
 * between. */
#ifndef FC_MERGE_FILES_H
#define FC_MERGE_FILES_H

#include "sim/models/merge_inputs.h"

/* What the inputs have, without the numbers of whole models. base NULL: adapters only. Errors:
 * FC_EDATA names the file and what does not fit. */
fc_status fc_merge_files_open(fc_merge_files *f, const char *base, const char *const *path, int n,
                              fc_error *err);
void fc_merge_files_close(fc_merge_files *f); /* accepts {0} */

/* Bytes of the merged task vector, and beside it of all task vectors, or (summed) of what
 * fc_merge_files_sum has of them at a time. Adapters are there from the start. */
double fc_merge_files_bytes(const fc_merge_files *f, bool summed);

/* The numbers: f->set can be merged. Errors: FC_EDATA for one that is not finite. */
fc_status fc_merge_files_load(fc_merge_files *f, fc_error *err);

/* out[t] (rows, cols) = c * the sum of all inputs, without fc_merge_files_load: each thread reads
 * one tensor of one input at a time. Bits as fc_tv_sum. Errors: as above. */
fc_status fc_merge_files_sum(double *const *out, const fc_merge_files *f, double c, fc_error *err);

/* Grams and Fisher information of n files of fcil stats, one for each input, into f->set; needs:
 * FC_MERGE_NEEDS_*. Errors: FC_EDATA where a file has not what the rule needs. */
fc_status fc_merge_files_stats(fc_merge_files *f, const char *const *path, int n, unsigned needs,
                               fc_error *err);

/* base + out as a whole model. */
fc_status fc_merge_files_save_model(const fc_merge_files *f, double *const *out, const char *path,
                                    fc_error *err);

/* out as an adapter of that rank, 0: of as many as it takes. *rank: the largest of a layer; *error:
 * |out - B A| / |out| over all layers. */
fc_status fc_merge_files_save_adapter(const fc_merge_files *f, double *const *out, int *rank,
                                      double *error, const char *dir, fc_error *err);

#endif
