//! 16.6 borrowing, limits, naming, utilization; 16.7 selectors and pool changes.
