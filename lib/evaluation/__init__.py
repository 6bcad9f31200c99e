"""From scores to numbers: protocols and their AUC, intervals, regions, the sensitivity study."""
