//! Where we differ from upstream on purpose.

use std::collections::BTreeSet;

/// What of a step is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Whether the call succeeds.
    Exit,
    /// The code of the error.
    Code,
    /// Its standard output.
    Result,
    /// The content of the store.
    Store,
    /// What the kernel shows.
    Kernel,
}

/// A difference that is wanted.
pub struct Deviation {
    /// The trace.
    pub file: &'static str,
    /// Its steps.
    pub steps: &'static [usize],
    /// What differs.
    pub parts: &'static [Part],
    /// Whether a DEL takes it back, so that the next step begins as upstream's did.
    pub undo: bool,
    /// The number of the fix in `reference/cni-plugin.md` section 10.
    pub fix: u32,
    /// What we do instead.
    pub reason: &'static str,
}

impl Deviation {
    /// Whether it explains a difference.
    pub fn covers(&self, file: &str, step: usize, part: Part) -> bool {
        self.file == file && self.steps.contains(&step) && self.parts.contains(&part)
    }

    /// What it excuses and nobody needed.
    pub fn unused(&self, file: &str, excused: &BTreeSet<(usize, Part)>) -> Vec<String> {
        if self.file != file {
            return Vec::new();
        }
        let all = self.steps.iter().flat_map(|step| self.parts.iter().map(|part| (*step, *part)));
        all.filter(|one| !excused.contains(one))
            .map(|(step, part)| {
                format!(
                    "step {step}, {part:?}: excused, and equal: fix {}, {}",
                    self.fix, self.reason
                )
            })
            .collect()
    }
}

/// All of them.
pub const DEVIATIONS: &[Deviation] = &[
    Deviation {
        file: "errors",
        steps: &[32],
        parts: &[Part::Exit],
        undo: false,
        fix: 1,
        reason: "CHECK without a result to compare with is refused",
    },
    Deviation {
        file: "errors",
        steps: &[34],
        parts: &[Part::Exit],
        undo: false,
        fix: 2,
        reason: "STATUS is answered",
    },
    Deviation {
        file: "errors",
        steps: &[33],
        parts: &[Part::Code],
        undo: false,
        fix: 2,
        reason: "GC is served in 1.1.0, but not without the list of attachments to keep",
    },
    Deviation {
        file: "host-local",
        steps: &[0, 2, 4],
        parts: &[Part::Result],
        undo: false,
        fix: 29,
        reason: "the routes that are there are told, where upstream repeats those of the plugin: none",
    },
    Deviation {
        file: "errors-no-nodename-file",
        steps: &[0, 1],
        parts: &[Part::Exit],
        undo: true,
        fix: 5,
        reason: "the file is needed only where the configuration doesn't name the node",
    },
    Deviation {
        file: "version-command",
        steps: &[0, 1],
        parts: &[Part::Result],
        undo: false,
        fix: 2,
        reason: "VERSION answers in the caller's version, and 1.1.0 is supported",
    },
    Deviation {
        file: "version-command",
        steps: &[2],
        parts: &[Part::Exit],
        undo: true,
        fix: 2,
        reason: "1.1.0 is supported",
    },
    Deviation {
        file: "cni-two-pods",
        steps: &[1],
        parts: &[Part::Result, Part::Store, Part::Kernel],
        undo: false,
        fix: 18,
        reason: "two ids that begin with the same 11 characters: upstream's second pod takes the \
                 first one's link away, ours gets a link of another name",
    },
    Deviation {
        file: "k8s-no-policy",
        steps: &[1],
        parts: &[Part::Result, Part::Store, Part::Kernel],
        undo: false,
        fix: 13,
        reason: "a repeated ADD of one container gets the addresses that it has",
    },
    Deviation {
        file: "cni-repeat",
        steps: &[2, 3],
        parts: &[Part::Result, Part::Store, Part::Kernel],
        undo: true,
        fix: 14,
        reason: "another interface of a container is made, where upstream answers the \
                 first one's addresses and makes nothing",
    },
    Deviation {
        file: "cni-repeat",
        steps: &[4],
        parts: &[Part::Store],
        undo: false,
        fix: 12,
        reason: "DEL of one interface leaves the addresses of the others alone",
    },
    check("version-0.4.0-v4"),
    check("version-0.4.0-v6"),
    check("version-0.4.0-dual"),
    check("version-1.0.0-v4"),
    check("version-1.0.0-v6"),
    check("version-1.0.0-dual"),
];

const fn check(file: &'static str) -> Deviation {
    Deviation {
        file,
        steps: &[1],
        parts: &[Part::Result],
        undo: false,
        fix: 1,
        reason: "CHECK compares, and says nothing when all is well",
    }
}
