//! Running `calicoctl` as an operator does, on a host.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command::LIMIT;
use crate::etcd::Etcd;
use crate::host::{self, Host};
use crate::network::Network;
use crate::plugin::Answer;
use crate::store::Stores;

/// Where the command is on every host.
const PROGRAM: &str = "/opt/bin/calicoctl";
/// The folder that it runs in.
const FOLDER: &str = "/var/lib/operator";

/// One call of `calicoctl`. Its environment names the datastore and nothing else of Calico's.
#[derive(Debug, Clone)]
pub struct Ctl {
    host: Arc<Host>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdin: Vec<u8>,
    limit: Duration,
}

impl Ctl {
    /// A call on this store, from the store's host.
    pub fn new<S: AsRef<str>>(store: &Stores, args: impl IntoIterator<Item = S>) -> Ctl {
        let ctl = Ctl {
            host: store.host().clone(),
            args: args.into_iter().map(|word| word.as_ref().to_owned()).collect(),
            env: Vec::new(),
            stdin: Vec::new(),
            limit: LIMIT,
        };
        match store {
            Stores::Local(_) => ctl.env("DATASTORE_TYPE", "local"),
            Stores::Etcd(etcd) => ctl.env("ETCD_ENDPOINTS", Etcd::endpoint(etcd)),
        }
    }

    /// The same with one more word, which may hold blanks.
    pub fn also(mut self, word: &str) -> Ctl {
        self.args.push(word.to_owned());
        self
    }

    /// The same from another host.
    pub fn on(self, host: &Arc<Host>) -> Ctl {
        Ctl { host: host.clone(), ..self }
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: &str, value: &str) -> Ctl {
        self = self.without(name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves a variable out.
    pub fn without(mut self, name: &str) -> Ctl {
        self.env.retain(|(other, _)| other != name);
        self
    }

    /// What it reads.
    pub fn stdin(self, text: impl Into<Vec<u8>>) -> Ctl {
        Ctl { stdin: text.into(), ..self }
    }

    /// Writes a file into the folder that it runs in.
    pub fn file(self, name: &str, content: &str) -> Result<Ctl> {
        self.host.write(&format!("{FOLDER}/{name}"), content)?;
        Ok(self)
    }

    /// The longest that the call may take.
    pub fn limit(self, limit: Duration) -> Ctl {
        Ctl { limit, ..self }
    }

    /// Runs it to its end.
    pub fn run(&self) -> Result<Answer> {
        std::fs::create_dir_all(self.host.path(FOLDER))?;
        let mut command = host::command("/bin/sh");
        command.args(["-c", &format!("cd {FOLDER} && exec {PROGRAM} \"$@\""), "sh"]);
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        let output = self.host.output(command, &self.stdin, self.limit)?;
        Ok(Answer {
            exit: output.status.code(),
            stdout: String::from_utf8(output.stdout).context("standard output is no text")?,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            elapsed: output.elapsed,
        })
    }

    /// Runs it; what it prints, if it succeeds.
    pub fn ok(&self) -> Result<String> {
        let answer = self.run()?;
        ensure!(answer.exit == Some(0), "calicoctl {}: {answer:?}", self.args.join(" "));
        Ok(answer.stdout)
    }

    /// Runs it; what it says on standard error, if it fails with status 1.
    pub fn refused(&self) -> Result<String> {
        let answer = self.run()?;
        ensure!(answer.exit == Some(1), "calicoctl {}: {answer:?}", self.args.join(" "));
        Ok(answer.stderr)
    }
}

impl Network {
    /// A call of `calicoctl` on this network's store: the words of `line`, separated by blanks.
    pub fn ctl(&self, line: &str) -> Ctl {
        Ctl::new(self.store(), line.split_whitespace())
    }
}
