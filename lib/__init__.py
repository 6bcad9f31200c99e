"""The library: a map of its modules and rooms.

**The door**: what the paper defines, in the paper's order.

    itae        the two-path autoencoder ("Implicit two-path AE", Table 1, Fig. 2)
    losses      the reconstruction loss (Eq. 3 and 4, multi-scale SSIM)
    features    from the last maps to the input of the flows ("Learning normality distribution")
    glow        the normalizing flow (Eq. 1, 2, 5 and 6)
    density     F_app and F_mot: standardised features and their likelihood
    scoring     from errors and likelihoods to one score per frame (Eq. 7, 8 and 9)

and what every room needs: `errors` (all error classes), `config` (every parameter and its reason), `paths`
(where files are, how they are written and hashed).

**The rooms**, left to right:

    settings    the paper's and the profiles' values of parameters, and the parsing of typed values
    kernels     faster versions of arithmetic in losses and glow; not needed to understand the method
    datasets    from files to arrays
    evaluation  from scores to numbers: protocols, intervals, regions, sensitivity; pasted anomalies and the
                rule of the selection
    training    training loop, checkpoints, both stages, extraction, Table 1 of a network, readings of Eq. 7
    pipeline    steps, records, what has to run, how one notebook runs
    evidence    stored results: scored runs, tables, typesetting, verdict
    figures     every figure
    report      index.html, notebooks as pages, the curated reference, costs
    commands    ./run_all.sh and its sub-commands

**The import rule.** A module imports from its own room, or from what is to the left of it in

    errors < kernels, settings < the paper's six < paths < config < datasets, evaluation < training, pipeline
    < evidence < figures < report < commands

and never in a circle or by a computed name. `tests/test_import_rule.py` enforces this, for imports inside
functions too. Rooms re-export nothing: `from lib.training import stage1`. Module names are unique, so that a
module keeps its code version when its file moves to another room.
"""
