"""From scores to numbers: protocols and their AUC, intervals, regions, the sensitivity study, the rule of the
selection."""
