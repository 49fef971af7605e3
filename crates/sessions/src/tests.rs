mod verdicts;
