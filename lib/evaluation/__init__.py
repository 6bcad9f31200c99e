"""From scores to numbers: protocols, AUC and intervals, regions, the sensitivity study, and the rule of the
selection."""
