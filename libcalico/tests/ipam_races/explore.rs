//! Every order of a race. Orders that lead to the same state go on in the same way, so that is
//! followed once: a state is what is stored and what each actor has heard.

use std::collections::HashMap;

use crate::race::{Choice, Race};

/// How much of a race was seen.
#[derive(Debug, Clone, Copy)]
pub struct Explored {
    /// How many different states there are.
    pub states: usize,
    /// How many different orders lead through them.
    pub orders: f64,
    /// Whether that is all.
    pub complete: bool,
}

struct Node {
    choices: Vec<Choice>,
    /// The states that the choices lead to; none for the end.
    next: Vec<Option<u64>>,
}

/// Plays a race in every order, up to so many states.
pub fn explore(race: &Race, most_states: usize) -> Explored {
    let mut nodes: HashMap<u64, Node> = HashMap::new();
    let mut first = None;
    let mut ways: Vec<Vec<usize>> = vec![Vec::new()];
    let mut complete = true;
    while let Some(way) = ways.pop() {
        if nodes.len() >= most_states {
            complete = false;
            break;
        }
        let (mut taken, mut last) = (Vec::new(), None::<(u64, usize)>);
        race.run(&mut |fork| {
            let here = fork.fingerprint;
            first.get_or_insert(here);
            if let Some((from, choice)) = last
                && let Some(node) = nodes.get_mut(&from)
            {
                node.next[choice] = Some(here);
            }
            let pick = match way.get(taken.len()) {
                Some(pick) => *pick,
                None if nodes.contains_key(&here) => return None,
                None => {
                    for other in 1..fork.choices.len() {
                        ways.push(taken.iter().copied().chain([other]).collect());
                    }
                    let next = vec![None; fork.choices.len()];
                    nodes.insert(here, Node { choices: fork.choices.clone(), next });
                    0
                }
            };
            taken.push(pick);
            last = Some((here, pick));
            let known = nodes.get(&here).map(|node| &node.choices);
            assert_eq!(known, Some(&fork.choices), "the same state has other choices");
            Some(fork.choices[pick])
        });
    }
    let mut counted = HashMap::new();
    let orders = first.map_or(1.0, |first| count(first, &nodes, &mut counted));
    Explored { states: nodes.len(), orders, complete }
}

fn count(at: u64, nodes: &HashMap<u64, Node>, counted: &mut HashMap<u64, f64>) -> f64 {
    if let Some(known) = counted.get(&at) {
        return *known;
    }
    let next = nodes.get(&at).map(|node| node.next.as_slice()).unwrap_or_default();
    let orders = next.iter().map(|next| next.map_or(1.0, |next| count(next, nodes, counted))).sum();
    counted.insert(at, orders);
    orders
}
