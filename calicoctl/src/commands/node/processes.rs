//! Which of Calico's daemons run here: program and mode, as `/proc` tells them.
//!
//! Both words count: upstream takes a process for Felix when either is found, so that an editor
//! with `felix.cfg` passes for one (`reference/calicoctl.md` section 9, 6).

use std::fs;
use std::io;
use std::path::Path;

use nix::unistd::Pid;

/// The running processes: their numbers and the words of their command lines.
#[derive(Debug, Default)]
pub struct Processes(Vec<(Pid, Vec<String>)>);

impl Processes {
    /// Reads them. A process that ends meanwhile is left out, as a kernel's thread is.
    pub fn running() -> io::Result<Processes> {
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
            all.push((Pid::from_raw(pid), words(&line)));
        }
        Ok(Processes(all))
    }

    /// Whether Felix runs: by itself, or as the mode of calico-node.
    pub fn has_felix(&self) -> bool {
        !self.felix().is_empty()
    }

    /// The processes of Felix.
    pub fn felix(&self) -> Vec<Pid> {
        let alone = self.find("calico-felix", None);
        alone.chain(self.find("calico-node", Some("-felix"))).collect()
    }

    /// Whether this BIRD runs: `bird` or `bird6`.
    pub fn has_bird(&self, program: &str) -> bool {
        self.find(program, None).next().is_some()
    }

    fn find(&self, program: &str, mode: Option<&str>) -> impl Iterator<Item = Pid> {
        let found = self.0.iter().filter(move |(_, words)| {
            let Some((first, rest)) = words.split_first() else { return false };
            let is_program = Path::new(first).file_name().is_some_and(|name| name == program);
            let is_mode =
                |mode| rest.iter().any(|word| word == mode || *word == format!("-{mode}"));
            is_program && mode.is_none_or(is_mode)
        });
        found.map(|(pid, _)| *pid)
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
        let words = |line: &&str| words(line.replace(' ', "\0").as_bytes());
        Processes(lines.iter().map(|line| (Pid::this(), words(line))).collect())
    }

    #[test]
    fn felix_is_known_by_program_and_mode() {
        for line in ["/usr/bin/calico-felix", "calico-node -felix", "/bin/calico-node x --felix"] {
            assert!(processes(&["sleep 1", line]).has_felix(), "{line}");
        }
        for line in ["calico-node -confd", "vi calico-felix", "grep -felix", "calico-felix-2", ""] {
            assert!(!processes(&[line]).has_felix(), "{line}");
        }
        let titled = Processes(vec![(Pid::this(), words(b"calico-node -felix\0\0\0"))]);
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
        let running = Processes::running().unwrap();
        assert!(running.find(own, None).any(|pid| pid == Pid::this()));
    }
}
