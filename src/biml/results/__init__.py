"""Results of the paper's experiments as a folder of tidy tables, whoever writes and reads them."""
