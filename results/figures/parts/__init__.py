"""What several figures share: panels, legends, intervals, lines and labelled points."""
