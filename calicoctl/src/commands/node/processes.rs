//! Which of Calico's daemons run here: program and mode, as `/proc` tells them.
//!
//! Both words count: upstream takes a process for Felix when either is found, so that an editor
//! with `felix.cfg` passes for one (`reference/calicoctl.md` section 9, 6).

use std::fs;
use std::io;
use std::path::Path;

/// The command lines of the running processes.
#[derive(Debug, Default)]
pub struct Processes(Vec<Vec<String>>);

impl Processes {
    /// Reads them. A process that ends meanwhile is left out, as a kernel's thread is.
    pub fn running() -> io::Result<Processes> {
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let name = entry.file_name();
            if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
                continue;
            }
            let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
            all.push(words(&line));
        }
        Ok(Processes(all))
    }

    /// Whether Felix runs: by itself, or as the mode of calico-node.
    pub fn has_felix(&self) -> bool {
        self.has("calico-felix", None) || self.has("calico-node", Some("-felix"))
    }

    /// Whether this BIRD runs: `bird` or `bird6`.
    pub fn has_bird(&self, program: &str) -> bool {
        self.has(program, None)
    }

    fn has(&self, program: &str, mode: Option<&str>) -> bool {
        self.0.iter().any(|words| {
            let Some((first, rest)) = words.split_first() else { return false };
            let is_program = Path::new(first).file_name().is_some_and(|name| name == program);
            let is_mode =
                |mode| rest.iter().any(|word| word == mode || *word == format!("-{mode}"));
            is_program && mode.is_none_or(is_mode)
        })
    }
}

/// The words of a command line as the kernel has it. A program that writes its title over them
/// leaves one word with blanks.
fn words(line: &[u8]) -> Vec<String> {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end_matches('\0');
    match line.contains('\0') {
        true => line.split('\0').map(str::to_owned).collect(),
        false => line.split_whitespace().map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processes(lines: &[&str]) -> Processes {
        Processes(lines.iter().map(|line| words(line.replace(' ', "\0").as_bytes())).collect())
    }

    #[test]
    fn felix_is_known_by_program_and_mode() {
        for line in ["/usr/bin/calico-felix", "calico-node -felix", "/bin/calico-node x --felix"] {
            assert!(processes(&["sleep 1", line]).has_felix(), "{line}");
        }
        for line in ["calico-node -confd", "vi calico-felix", "grep -felix", "calico-felix-2", ""] {
            assert!(!processes(&[line]).has_felix(), "{line}");
        }
        let titled = Processes(vec![words(b"calico-node -felix\0\0\0")]);
        assert!(titled.has_felix());
    }

    #[test]
    fn the_two_birds_are_two() {
        let both = processes(&["/usr/sbin/bird6 -s /run/bird.ctl", "tail bird"]);
        assert!(both.has_bird("bird6") && !both.has_bird("bird"));
    }

    #[test]
    fn this_process_is_found() {
        let own = std::env::current_exe().unwrap();
        let own = own.file_name().unwrap().to_str().unwrap();
        assert!(Processes::running().unwrap().has(own, None));
    }
}
