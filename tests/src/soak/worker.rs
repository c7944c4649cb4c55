//! The workload: what a runtime does with its containers, and how it goes on after a failure.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::history::{Outcome, Verb};
use super::plan::{Choice, Choices, Fate};
use super::world::{Node, Target, World};
use crate::pod::Pod;

/// How many containers a worker has at once.
const SLOTS: usize = 4;
/// How often the runtime tries in peace what must succeed in the end.
pub(super) const ATTEMPTS: usize = 10;

/// Somebody who does one thing after the other, on one node.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    world: &'a World,
    node: &'a Node,
    choices: Choices,
    slots: Vec<Slot>,
}

/// A place for a container; those with odd numbers are a pod's, whose sandboxes follow each other.
#[derive(Debug)]
struct Slot {
    name: String,
    pod: Option<String>,
    generation: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Free,
    Attached(Sandbox, Value),
    /// An ADD of it didn't succeed.
    HalfAdded(Sandbox),
    /// A DEL of it didn't succeed.
    HalfDeleted(Sandbox),
}

/// A container and its namespace, which may be gone before it is deleted.
#[derive(Debug)]
struct Sandbox {
    target: Target,
    netns: Option<Pod>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        world: &'a World,
        node: &'a Node,
        choices: Choices,
        name: &str,
    ) -> Worker<'a> {
        let slot = |number: usize| {
            let name = format!("{name}s{number}");
            let pod = (number % 2 == 1).then(|| format!("pod-{name}"));
            Slot { name, pod, generation: 0, state: State::Free }
        };
        Worker { world, node, choices, slots: (0..SLOTS).map(slot).collect() }
    }

    /// Does one thing with one of its containers.
    pub(super) fn step(&mut self) -> Result<()> {
        let (slot, fate) = (self.choices.one_of(SLOTS), self.choices.fate());
        let slot = &mut self.slots[slot];
        let state = std::mem::replace(&mut slot.state, State::Free);
        let turn = Turn { world: self.world, node: self.node };
        slot.state = match state {
            State::Free => {
                slot.generation += 1;
                let container = format!("{}g{}", slot.name, slot.generation);
                let netns = Some(self.node.host.pod(&container)?);
                let target = Target { container, pod: slot.pod.clone() };
                turn.add(Sandbox { target, netns }, fate)?
            }
            State::Attached(sandbox, result) => match self.choices.choice() {
                Choice::AddAgain => turn.add(sandbox, fate)?,
                Choice::Del => {
                    // Now and then the namespace goes first; older runtimes don't know the result.
                    let sandbox = match self.choices.chance(0.1) {
                        true => sandbox.without_netns()?,
                        false => sandbox,
                    };
                    let result = self.choices.chance(0.7).then_some(result);
                    turn.del(sandbox, result.as_ref(), fate)?
                }
                Choice::Check => {
                    turn.check(&sandbox, &result, fate)?;
                    State::Attached(sandbox, result)
                }
                Choice::Gc => {
                    self.world.gc(self.node, fate)?;
                    State::Attached(sandbox, result)
                }
            },
            State::HalfAdded(sandbox) => match self.choices.chance(0.25) {
                true => turn.add(sandbox, fate)?,
                false => turn.del(sandbox, None, fate)?,
            },
            State::HalfDeleted(sandbox) => turn.del(sandbox, None, fate)?,
        };
        Ok(())
    }

    /// Deletes what isn't attached for certain.
    pub(super) fn tidy(&mut self) -> Result<()> {
        self.delete(|state| matches!(state, State::HalfAdded(_) | State::HalfDeleted(_)))
    }

    /// Deletes everything.
    pub(super) fn leave(&mut self) -> Result<()> {
        self.delete(|state| !matches!(state, State::Free))
    }

    fn delete(&mut self, which: impl Fn(&State) -> bool) -> Result<()> {
        let turn = Turn { world: self.world, node: self.node };
        for slot in self.slots.iter_mut().filter(|slot| which(&slot.state)) {
            for _ in 0..ATTEMPTS {
                slot.state = match std::mem::replace(&mut slot.state, State::Free) {
                    State::Free => break,
                    State::Attached(sandbox, result) => {
                        turn.del(sandbox, Some(&result), Fate::Whole)?
                    }
                    State::HalfAdded(sandbox) | State::HalfDeleted(sandbox) => {
                        turn.del(sandbox, None, Fate::Whole)?
                    }
                };
            }
            if !matches!(slot.state, State::Free) {
                bail!("{ATTEMPTS} times DEL failed: {slot:?}");
            }
        }
        Ok(())
    }

    /// Looks whether each attached container works: CHECK, an ADD that is repeated, a ping of its
    /// addresses. What doesn't.
    pub(super) fn inspect(&mut self) -> Result<Vec<String>> {
        let turn = Turn { world: self.world, node: self.node };
        let mut problems = Vec::new();
        for slot in &mut self.slots {
            slot.state = match std::mem::replace(&mut slot.state, State::Free) {
                State::Attached(sandbox, result) => {
                    turn.check(&sandbox, &result, Fate::Whole)?;
                    for address in crate::network::addresses(&result)? {
                        let container = &sandbox.target.container;
                        let answer = self.node.host.ping(address);
                        problems.extend(
                            answer.err().map(|error| format!("{container} is silent: {error:#}")),
                        );
                    }
                    let mut state = turn.add(sandbox, Fate::Whole)?;
                    for _ in 1..ATTEMPTS {
                        state = match state {
                            State::HalfAdded(sandbox) => turn.add(sandbox, Fate::Whole)?,
                            done => {
                                state = done;
                                break;
                            }
                        };
                    }
                    state
                }
                other => other,
            };
        }
        Ok(problems)
    }
}

impl Sandbox {
    fn without_netns(self) -> Result<Sandbox> {
        self.netns.map(Pod::remove).transpose()?;
        Ok(Sandbox { netns: None, ..self })
    }
}

/// One call with what follows from it.
struct Turn<'a> {
    world: &'a World,
    node: &'a Node,
}

impl Turn<'_> {
    fn add(&self, sandbox: Sandbox, fate: Fate) -> Result<State> {
        let _no_gc = self.node.gate.read().expect("no holder panics");
        let (outcome, result) =
            self.world.call(self.node, Verb::Add, &sandbox.target, None, fate)?;
        let attached = matches!(outcome, Outcome::Done(_));
        self.believe(&sandbox, attached);
        Ok(match attached {
            true => State::Attached(sandbox, result),
            false => State::HalfAdded(sandbox),
        })
    }

    fn del(&self, sandbox: Sandbox, previous: Option<&Value>, fate: Fate) -> Result<State> {
        let _no_gc = self.node.gate.read().expect("no holder panics");
        self.believe(&sandbox, false);
        let call = self.world.call(self.node, Verb::Del, &sandbox.target, previous, fate);
        Ok(match call?.0 {
            Outcome::Done(_) => {
                let container = sandbox.target.container.clone();
                sandbox.without_netns().with_context(|| format!("namespace of {container}"))?;
                State::Free
            }
            Outcome::Failed { .. } | Outcome::Killed => State::HalfDeleted(sandbox),
        })
    }

    fn check(&self, sandbox: &Sandbox, result: &Value, fate: Fate) -> Result<()> {
        let previous = Some(result);
        self.world.call(self.node, Verb::Check, &sandbox.target, previous, fate).map(drop)
    }

    fn believe(&self, sandbox: &Sandbox, attached: bool) {
        let container = sandbox.target.container.clone();
        let mut all = self.node.attached.lock().expect("no holder panics");
        if attached {
            all.insert(container)
        } else {
            all.remove(&container)
        };
    }
}
