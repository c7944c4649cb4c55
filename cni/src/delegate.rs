//! Running another plugin, such as the one for IPAM, as the specification's section 4 has it.
//!
//! It gets our environment with the variables of the request, and a configuration on its standard
//! input. What it writes to standard error goes to ours. After a failed ADD it is for the caller to
//! call DEL.

mod process;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use crate::{AddResult, Args, Command, Error, Request, code, environment, error};

pub use process::Stop;

/// Another plugin's program, and what its environment has that ours has not.
#[derive(Clone, Debug)]
pub struct Delegate {
    program: PathBuf,
    args: Option<Args>,
    stop: Stop,
}

/// Looks for a plugin's program: the first regular file of that name in the folders of `CNI_PATH`.
pub fn find(plugin_type: &str, path: &[PathBuf]) -> Result<PathBuf, Error> {
    let invalid = |cause: String| Error::new(code::INVALID_CONFIG, format!("ipam.type {cause}"));
    if plugin_type.is_empty() {
        return Err(invalid("is missing; name the IPAM plugin".into()));
    }
    let name = error::excerpt(plugin_type);
    if plugin_type.contains(['/', '\0']) {
        return Err(invalid(format!("{name:?} must be the name of a program, without a path")));
    }
    path.iter().map(|folder| folder.join(plugin_type)).find(|program| program.is_file()).ok_or_else(
        || {
            let folders: Vec<_> = path.iter().map(|folder| folder.to_string_lossy()).collect();
            let folders = folders.join(", ");
            invalid(format!("{name:?}: no such program in CNI_PATH [{folders}]; install it there"))
        },
    )
}

impl Delegate {
    /// A delegate that runs a program, which [`find`] found.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Delegate { program: program.into(), args: None, stop: Stop::default() }
    }

    /// Lets another thread end the call.
    pub fn stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// Gives the delegate other `CNI_ARGS` than the request's. Either way it is told to ignore
    /// unknown keys.
    pub fn args(mut self, args: Args) -> Self {
        self.args = Some(args);
        self
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// ADD with `stdin` as the network configuration. At the deadline the delegate is killed: code
    /// 11.
    ///
    /// An error object of the delegate is returned as it is. Other failures have code 104.
    pub fn add(
        &self,
        request: &Request,
        stdin: &[u8],
        deadline: Instant,
    ) -> Result<AddResult, Error> {
        let output = self.call(Command::Add, request, stdin, deadline)?;
        AddResult::from_json(&output.stdout, request.config.result_version()).map_err(|cause| {
            Error::new(
                code::DELEGATION,
                format!("{} answered ADD: {cause}", self.program.display()),
            )
            .details(output.details())
        })
    }

    /// DEL; see [`Delegate::add`].
    pub fn del(&self, request: &Request, stdin: &[u8], deadline: Instant) -> Result<(), Error> {
        self.call(Command::Del, request, stdin, deadline).map(drop)
    }

    /// CHECK; see [`Delegate::add`].
    pub fn check(&self, request: &Request, stdin: &[u8], deadline: Instant) -> Result<(), Error> {
        self.call(Command::Check, request, stdin, deadline).map(drop)
    }

    /// GC; see [`Delegate::add`].
    pub fn gc(&self, request: &Request, stdin: &[u8], deadline: Instant) -> Result<(), Error> {
        self.call(Command::Gc, request, stdin, deadline).map(drop)
    }

    /// STATUS; see [`Delegate::add`].
    pub fn status(&self, request: &Request, stdin: &[u8], deadline: Instant) -> Result<(), Error> {
        self.call(Command::Status, request, stdin, deadline).map(drop)
    }

    fn call(
        &self,
        command: Command,
        request: &Request,
        stdin: &[u8],
        deadline: Instant,
    ) -> Result<process::Output, Error> {
        let program = self.command(command, request);
        let output =
            process::run(program, stdin.to_vec(), deadline, &self.stop).map_err(|failure| {
                let code = match failure {
                    process::Failure::Deadline { .. } | process::Failure::Stopped => {
                        code::TRY_AGAIN_LATER
                    }
                    process::Failure::Start(_) => code::DELEGATION,
                };
                Error::new(code, format!("{command} of {}: {failure}", self.program.display()))
            })?;
        if let Some(error) = Error::from_json(&output.stdout) {
            return Err(error);
        }
        // Without a status it is the error object alone that tells a failure.
        if let Some(status) = output.status.filter(|status| !status.success()) {
            return Err(Error::new(
                code::DELEGATION,
                format!(
                    "{command} of {} ended with {status} and no error object",
                    self.program.display()
                ),
            )
            .details(output.details()));
        }
        Ok(output)
    }

    /// The program with our environment and the variables of a call; those that are empty it
    /// doesn't get.
    fn command(&self, command: Command, request: &Request) -> std::process::Command {
        let netns = request.netns.as_deref().unwrap_or(Path::new(""));
        let path: Vec<_> = request.path.iter().map(|folder| folder.to_string_lossy()).collect();
        // COMPAT: plugins in Go refuse keys that they don't know (a runtime's K8S_*) unless told
        // otherwise, on DEL too; upstream tells them on every verb.
        let args = self.args.as_ref().unwrap_or(&request.args).clone().ignoring_unknown();
        let mut program = std::process::Command::new(&self.program);
        for (name, value) in [
            (environment::COMMAND, command.to_string()),
            (environment::CONTAINER_ID, request.container_id.clone()),
            (environment::NETNS, netns.to_string_lossy().into_owned()),
            (environment::IFNAME, request.ifname.clone()),
            (environment::ARGS, args.to_string()),
            (environment::PATH, path.join(":")),
        ] {
            match value.is_empty() {
                true => program.env_remove(name),
                false => program.env(name, value),
            };
        }
        program
    }
}

#[cfg(test)]
mod tests;
