"""The paper's behavioural results for any set of models, in units that are never computed twice.

Models (`subjects`) take part in experiments (`experiments`), which are made of measurements
(`measures`). Each measurement of one model is a unit of work, kept by its content (`store`) and
shared out over the cores (`work`). What they give is analysed, set beside the published figures
(`published`) and written as a results folder (`run`).
"""
