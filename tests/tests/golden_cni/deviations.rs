//! Where we differ from upstream on purpose.

/// What of a step is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Whether the call succeeds.
    Exit,
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
    /// Why: the number of the fix, and what we do instead.
    #[expect(dead_code, reason = "for the reader")]
    pub reason: &'static str,
}

impl Deviation {
    /// Whether it explains a difference.
    pub fn covers(&self, file: &str, step: usize, part: Part) -> bool {
        self.file == file && self.steps.contains(&step) && self.parts.contains(&part)
    }
}

/// All of them.
pub const DEVIATIONS: &[Deviation] = &[
    Deviation {
        file: "errors",
        steps: &[32],
        parts: &[Part::Exit],
        undo: false,
        reason: "fix 1: CHECK without a result to compare with is refused",
    },
    Deviation {
        file: "errors",
        steps: &[34],
        parts: &[Part::Exit],
        undo: false,
        reason: "fix 2: STATUS is answered",
    },
    Deviation {
        file: "errors-no-nodename-file",
        steps: &[0, 1],
        parts: &[Part::Exit],
        undo: true,
        reason: "fix 5: the file is needed only where the configuration doesn't name the node",
    },
    Deviation {
        file: "version-command",
        steps: &[0, 1],
        parts: &[Part::Result],
        undo: false,
        reason: "fix 2: VERSION answers in the caller's version, and 1.1.0 is supported",
    },
    Deviation {
        file: "version-command",
        steps: &[2],
        parts: &[Part::Exit],
        undo: true,
        reason: "fix 2: 1.1.0 is supported",
    },
    Deviation {
        file: "cni-two-pods",
        steps: &[1],
        parts: &[Part::Result, Part::Store, Part::Kernel],
        undo: false,
        reason: "two ids that begin with the same 11 characters: upstream's second pod takes the \
                 first one's link away, ours gets a link of another name",
    },
    Deviation {
        file: "k8s-no-policy",
        steps: &[1],
        parts: &[Part::Result, Part::Store, Part::Kernel],
        undo: false,
        reason: "fix 13: a repeated ADD of one container gets the addresses that it has",
    },
    Deviation {
        file: "cni-repeat",
        steps: &[2, 3],
        parts: &[Part::Result, Part::Store, Part::Kernel],
        undo: true,
        reason: "fix 14: another interface of a container is made, where upstream answers the \
                 first one's addresses and makes nothing",
    },
    Deviation {
        file: "cni-repeat",
        steps: &[4],
        parts: &[Part::Store],
        undo: false,
        reason: "fix 12: DEL of one interface leaves the addresses of the others alone",
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
        reason: "fix 1: CHECK compares, and says nothing when all is well",
    }
}
