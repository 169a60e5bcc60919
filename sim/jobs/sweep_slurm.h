/* fcil sweep slurm: the script of a job array, one shard of the sweep per element. */
#ifndef FC_SWEEP_SLURM_H
#define FC_SWEEP_SLURM_H

#include "sim/sweep/sweep.h"

/* Slurm's MaxArraySize is 1001 unless configured. */
enum { FC_SLURM_SHARDS_MAX = 1000 };

typedef struct fc_slurm_options {
    int shards; /* elements of the array; 0: one per run, of a search one per setting and seed */
    const char *time, *mem; /* as sbatch takes them; NULL: twice the time and 1.5 times the memory
                               that is predicted */
    const char *partition;  /* NULL: the cluster's default */
    char *const *override;  /* (n_override) "section.key=value" of all runs */
    int n_override;
    const char *file; /* NULL: stdout */
} fc_slurm_options;

/* Write the script for sbatch. Two minutes before the time is up, Slurm sends USR1 to the shell of
 * a job, which hands it on to fcil; that saves a checkpoint and exits with 75, and the job goes
 * back into the queue, at most 100 times. Any other exit code becomes that of the job. A job whose
 * node fails or that is preempted is queued again by Slurm; one that is cancelled is not. Makes the
 * folder of the jobs' messages, <out>/<name>/.sweep/slurm.
 * Errors: FC_EUSAGE if a text cannot be written into a line of #SBATCH: one with a backslash, '%'
 * or control character; FC_EFAIL; as fc_sweep_costs if something is to be predicted. */
fc_status fc_sweep_slurm(const fc_sweep *s, const fc_slurm_options *o, fc_error *err);

#endif
