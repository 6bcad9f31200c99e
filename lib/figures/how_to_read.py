"""How to read each figure and why it matters, in words that are valid for any run. Notebook 12 shows them
below the figure."""

HOW_TO_READ = {
    "fig1": "Check whether the error in (b) and (c) is brightest inside the outline of the labelled region, "
    "and whether abnormal frames lie to the left of normal ones in (d). If the error is as bright elsewhere, "
    "or the histograms overlap, this frame is found for another reason than its anomaly, or not at all.",
    "fig2": "Follow the frames from left to right: a few of them pass through the appearance path, all of "
    "them through the motion path, and one decoder rebuilds the window from both. The flows see no more than "
    "the pooled last maps and the extra information drawn beside them, so a likelihood cannot depend on "
    "anything else.",
    "fig3": "Compare how much of the red lies within the outline, with one path and with two; the shares are "
    "given below each picture. The paper's claim is that the motion path makes the error gather on what "
    "moves abnormally: red along the edges of everything else speaks against it.",
    "fig4": "In each panel normal frames should lie towards 1 and abnormal ones towards 0, which is what the "
    "AUC in its title measures. The paper's claim is that the motion flow separates anomalies of motion "
    "where the appearance flow cannot; where kinds of anomalies are known, the first row shows one of motion "
    "alone.",
    "fig5": "S should rise where the shading begins and fall where it ends; check whether R or L causes it. "
    "A rise outside the shading is a false alarm, and the red in the pictures shows whether the error lies "
    "on the anomaly or somewhere else in the frame.",
    "roc": "A curve towards the upper left separates the frames well, and the diagonal is chance. Before "
    "ranking two models, compare their distance with the intervals or deviations beside their names: if "
    "these are wider, other test clips or another seed could have reversed the order.",
    "likelihood_terms": "A term separates abnormal frames if its two boxes hardly overlap; its AUC is on the "
    "right. If one scale, or the log-determinant alone, does better than the whole likelihood, the other "
    "terms only add noise to the score.",
    "complexity": "If all points lie along one line (ρ near 1 or −1), the likelihood measures how much "
    "detail a frame has and little else. It finds anomalies where the abnormal frames, within the dashed "
    "line, lie above normal ones of the same complexity.",
    "training": "Above, a loss that is still falling at the end has not converged. Below, check whether the "
    "AUC rises with it: if it stays level or falls while the loss improves, longer training does not help "
    "detection.",
    "protocols": "Go down a column: the scores are the same in every row, and only normalisation, smoothing "
    "and averaging differ. A gain that is smaller than the spread of a column could come from the protocol "
    "alone.",
    "clips": "A row that is pale or below chance for every model is a clip that is hard for the method. If "
    "one or two rows make the difference between two models, they also make it in Table 3, and it may not "
    "hold on another test set.",
    "kinds": "Within a band, compare models with flows and models without: the motion flow should help where "
    "only the movement is unusual, the appearance flow where only the look is. A mark left of the dotted "
    "line means that this kind looks more normal to the model than the normal frames do.",
}
