//! The extension for Avocado OS.
