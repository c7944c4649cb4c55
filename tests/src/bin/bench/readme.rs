//! The part of README.md that the bench writes: between two marks, nothing else is touched.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const BEGIN: &str = "<!-- scripts/bench --readme writes from here -->\n";
const END: &str = "<!-- to here -->\n";

/// Writes `part` into the file.
pub fn write(file: &Path, part: &str) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let text = replaced(&text, part).with_context(|| file.display().to_string())?;
    fs::write(file, text).with_context(|| file.display().to_string())
}

fn replaced(text: &str, part: &str) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("no line {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("no line {END}"))?;
    Ok(format!("{before}{BEGIN}\n{part}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marked_part_is_replaced_and_the_second_time_too() {
        let text = format!("before\n{BEGIN}old\nolder\n{END}after\n");
        let once = replaced(&text, "new\n").unwrap();
        assert_eq!(once, format!("before\n{BEGIN}\nnew\n\n{END}after\n"));
        assert_eq!(replaced(&once, "new\n").unwrap(), once);
        assert!(replaced("no marks", "new").is_err());
    }
}
