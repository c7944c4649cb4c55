//! Killed before and after each effect: whatever a plugin was about to do, DEL, GC or a new ADD
//! finds and finishes it, and nothing is left.
//!
//! The matrix makes itself: a situation is a call; the points that it reaches are asked of the
//! plugin; and for each of them the call is made anew, killed there, and recovered from in each way
//! that the situation allows. A point that is added to the source is covered by itself; and one that
//! no situation reaches fails a test.
//!
//! All containers of one cell are on one host at once, a few calls at a time, and what is left is
//! looked for when all have recovered: their names tell the point.

#[path = "crash/situations.rs"]
mod situations;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use situations::{ALL, Recovery, Situation, World};
use tests::{Network, Point, each_of, on_each_store};

/// How often a call is made until it comes to its point. Those before the last were not disturbed.
const ATTEMPTS: usize = 3;

/// The points of a situation, as one undisturbed call reaches them.
fn points(world: &World<'_>, situation: &Situation) -> Result<Vec<Point>> {
    // Twice: the first call of all sets up what stays, and reaches points of its own.
    let mut points = Vec::new();
    for at in ["w0", "t0"] {
        situation.prepare(world, at)?;
        points = situation.victim(world, at)?.points()?;
        situation.recover(world, at, Recovery::Del)?;
    }
    Ok(points)
}

/// Brings a case to where its call is killed at a point.
fn kill(world: &World<'_>, situation: &Situation, at: &str, point: &Point) -> Result<()> {
    for _ in 0..ATTEMPTS {
        situation.prepare(world, at).with_context(|| format!("{at}: preparing"))?;
        if situation.victim(world, at)?.killed_at(point)? {
            return Ok(());
        }
        situation.recover(world, at, Recovery::Del)?;
    }
    bail!("{at}: none of {ATTEMPTS} calls came to {point}")
}

/// Plays all cells of a situation.
fn play(network: &mut Network, situation: &Situation) -> Result<()> {
    (situation.set_up)(network)?;
    let world = World::new(network);
    let points = points(&world, situation)?;
    ensure!(points.len() > 5, "only {points:?}");
    for &recovery in situation.recoveries {
        let case = |index: usize| format!("{}{index}", recovery.letter());
        let before = network.before()?;
        let kill = |index: usize| kill(&world, situation, &case(index), &points[index]);
        let recover = |index: usize| -> Result<()> {
            let at = case(index);
            let outcome = situation.recover(&world, &at, recovery);
            outcome.with_context(|| format!("{at}: killed at {}", points[index]))
        };
        if situation.alone {
            for (index, point) in points.iter().enumerate() {
                kill(index)?;
                recover(index)?;
                before.nothing_left().with_context(|| format!("killed at {point}"))?;
            }
        } else {
            each_of(points.len(), kill)?;
            each_of(points.len(), recover)?;
            if recovery == Recovery::Gc {
                situation.collect(&world)?;
            }
        }
        let table = || {
            let lines =
                points.iter().enumerate().map(|(at, point)| format!("{}: {point}", case(at)));
            format!("{} by {recovery:?}\n{}", situation.name, lines.collect::<Vec<_>>().join("\n"))
        };
        before.nothing_left().with_context(table)?;
        world.nothing_kept().with_context(table)?;
    }
    Ok(())
}

macro_rules! matrix {
    ($($test:ident)*) => {
        $(#[test]
        fn $test() {
            let name = stringify!($test);
            let situation = ALL.iter().find(|one| one.name == name).expect("a situation");
            on_each_store(&format!("crash-{name}"), |network| play(network, situation));
        })*

        /// The tests above are all situations that there are.
        const TESTED: &[&str] = &[$(stringify!($test)),*];
    };
}

matrix! {
    first_add_of_a_node
    add_of_a_container
    add_of_a_pods_new_sandbox
    add_of_a_second_interface
    add_by_another_ipam_plugin
    add_that_fails
    del_of_a_container
    del_of_a_pod
    del_of_a_second_interface
    del_by_another_ipam_plugin
    del_without_a_store
    del_that_pays
    gc_of_containers
}

#[test]
fn every_point_in_the_source_is_reached_and_every_situation_is_tested() {
    let names: Vec<&str> = ALL.iter().map(|situation| situation.name).collect();
    assert_eq!(names, TESTED);
    let reached = std::sync::Mutex::new(BTreeSet::new());
    on_each_store("crash-points", |network| {
        for situation in ALL {
            let conflist = network.conflist().clone();
            (situation.set_up)(network)?;
            let world = World::new(network);
            let names = points(&world, situation)?.into_iter().map(|point| point.name);
            reached.lock().expect("no holder panics").extend(names);
            world.remove_pods()?;
            *network.conflist_mut() = conflist;
        }
        Ok(())
    });
    let reached = reached.into_inner().expect("no holder panics");
    let mut written = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    for member in ["cni", "netutils", "libcalico", "cni-ipam", "cni-calico"] {
        find_points(&root.join(member).join("src"), &mut written).expect("sources");
    }
    assert!(written.len() > 15, "{written:?}");
    let missing: Vec<_> = written.difference(&reached).collect();
    assert!(missing.is_empty(), "no situation reaches {missing:?}: add one to situations.rs");
}

/// The names of the points in the sources of a folder.
fn find_points(folder: &Path, names: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find_points(&path, names)?;
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let calls = text.split("fault_points::reach!(\"").skip(1);
        names.extend(calls.filter_map(|call| Some(call.split_once('"')?.0.to_owned())));
    }
    Ok(())
}
