"""From the numbers of runs to pages: collected rows, claims with verdicts, figures, pages, and the site."""
