"""The library, as one reads it.

**The door**: what the paper defines, in the order in which it says it.

    itae        the two-path autoencoder ("Implicit two-path AE", Table 1, Fig. 2)
    losses      the reconstruction loss (Eq. 3 and 4, multi-scale SSIM)
    features    from the last maps to the input of the flows ("Learning normality distribution")
    glow        the normalizing flow (Eq. 1, 2, 5 and 6)
    density     F_app and F_mot: standardised features and their likelihood
    scoring     from errors and likelihoods to one score per frame (Eq. 7, 8 and 9)

and what all need: `errors` (the base class of every error), `config` (every parameter and its reason),
`paths` (where files lie, how they are written and hashed).

**The rooms**, left to right:

    settings    values that the paper and the profiles give to parameters, and reading what a person types
    kernels     the same arithmetic, faster; nobody needs to read it
    datasets    from files to arrays
    evaluation  from scores to numbers: protocols, intervals, regions, sensitivity; the selection's rule,
                pasted anomalies
    training    loop, checkpoints, both stages, extraction, Table 1 of a network, Eq. 7 in all its readings
    pipeline    steps, records, what has to run, how one notebook runs
    evidence    stored results: scored runs, tables, typesetting, verdict
    figures     every figure
    report      the page, notebooks as pages, the curated reference
    commands    ./run_all.sh and its sub-commands

**The import rule.** A module imports from its own room, or from what stands to the left of it in

    errors < kernels, settings < the paper's six < paths < config < datasets, evaluation < training, pipeline
    < evidence < figures < report < commands

and never in a circle, nor by a name that is computed. `tests/test_import_rule.py` holds it, for imports
inside functions too. Rooms re-export nothing: `from lib.training import stage1`. Module names are unique, so
that a module keeps its code version wherever its file lies.
"""
