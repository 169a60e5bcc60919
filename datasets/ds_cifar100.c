#include "datasets/ds_cifar.h"

#include <stddef.h>

static fc_status load_cifar100(fc_dataset *out, const fc_data_request *q, fc_error *err);

extern const fc_data_source fc_data_cifar100;
const fc_data_source fc_data_cifar100 = {
    .name = "cifar100",
    .help = "CIFAR-100: 100 fine classes, 32 x 32 RGB; the binary or the python version",
    .layout = "train.bin and test.bin (cifar-100-binary), or train and test (cifar-100-python)",
    .load = load_cifar100,
};

static fc_status load_cifar100(fc_dataset *out, const fc_data_request *q, fc_error *err)
{
    static const char *const folders[] = {"cifar-100-binary", "cifar-100-python", "cifar100", "",
                                          NULL};
    static const char *const bin_train[] = {"train.bin", NULL};
    static const char *const py_train[] = {"train", NULL};
    const fc_cifar c = {.source = &fc_data_cifar100,
                        .folders = folders,
                        .classes = 100,
                        .coarse_classes = 20,
                        .bin_train = bin_train,
                        .bin_test = "test.bin",
                        .bin_names = "fine_label_names.txt",
                        .py_train = py_train,
                        .py_test = "test",
                        .py_meta = "meta",
                        .label_key = "fine_labels",
                        .names_key = "fine_label_names"};
    return fc_cifar_load(out, q, &c, err);
}
