"""Training with several processes. Only the `..._replicated` programs and `extract` import this."""

VARIABLE = "TF_CONFIG"  # describes the cluster and the process's own task
PS, CHIEF, WORKER, EVALUATOR = JOBS = ("ps", "chief", "worker", "evaluator")
