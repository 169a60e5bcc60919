/* FlexLoRA: the server takes the mean of the products B A and cuts it to the rank by SVD.
 *
 * Bai et al., "Federated fine-tuning of large language models under heterogeneous tasks and client
 * resources", NeurIPS 2024, arXiv 2402.11505. */
#include "sim/methods/lora_merge.h"

const fc_method fc_method_flexlora = {.name = "flexlora",
                                      .paper = "Bai et al., NeurIPS 2024, arXiv 2402.11505",
                                      .help = "FlexLoRA: the mean of B A, cut to the rank by SVD",
                                      .rule = "average",
                                      .trains = {.mode = FC_TRAIN_LORA, .products = true},
                                      .options = fc_cl_merge_rows,
                                      .n_options = 1,
                                      .options_size = sizeof(fc_cl_merge_options),
                                      .grams = fc_lora_merge_grams,
                                      .sends_deltas = fc_cl_merge_sends_deltas,
                                      .train_base = fc_cl_merge_train_base,
                                      .eval_base = fc_cl_merge_eval_base};
