"""Training on several processes. Only the programs `..._replicated` and `extract` import this."""

VARIABLE = "TF_CONFIG"  # tells each process what the cluster is and which task it is itself
PS, CHIEF, WORKER, EVALUATOR = JOBS = ("ps", "chief", "worker", "evaluator")
