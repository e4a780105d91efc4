"""From the runs' numbers to the pages: collected rows, claims with verdicts, figures, pages, and the site that holds them."""
