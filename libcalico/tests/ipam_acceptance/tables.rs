//! 16.8 the table of automatic assignment; 16.9 requested addresses and release tables.
