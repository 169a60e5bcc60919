#include "datasets/ds_cifar.h"

#include <stddef.h>

static fc_status load_cifar10(fc_dataset *out, const fc_data_request *q, fc_error *err);

extern const fc_data_source fc_data_cifar10;
const fc_data_source fc_data_cifar10 = {
    .name = "cifar10",
    .help = "CIFAR-10: 10 classes, 32 x 32 RGB; the binary or the python version",
    .layout = "data_batch_1.bin to data_batch_5.bin and test_batch.bin (cifar-10-batches-bin), or "
              "data_batch_1 to data_batch_5 and test_batch (cifar-10-batches-py)",
    .load = load_cifar10,
};

static fc_status load_cifar10(fc_dataset *out, const fc_data_request *q, fc_error *err)
{
    static const char *const folders[] = {"cifar-10-batches-bin", "cifar-10-batches-py", "cifar10",
                                          "", NULL};
    static const char *const bin_train[] = {"data_batch_1.bin", "data_batch_2.bin",
                                            "data_batch_3.bin", "data_batch_4.bin",
                                            "data_batch_5.bin", NULL};
    static const char *const py_train[] = {"data_batch_1", "data_batch_2", "data_batch_3",
                                           "data_batch_4", "data_batch_5", NULL};
    const fc_cifar c = {.source = &fc_data_cifar10,
                        .folders = folders,
                        .classes = 10,
                        .bin_train = bin_train,
                        .bin_test = "test_batch.bin",
                        .bin_names = "batches.meta.txt",
                        .py_train = py_train,
                        .py_test = "test_batch",
                        .py_meta = "batches.meta",
                        .label_key = "labels",
                        .names_key = "label_names"};
    return fc_cifar_load(out, q, &c, err);
}
