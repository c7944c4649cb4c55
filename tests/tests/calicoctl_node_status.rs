//! `calicoctl node status` beside a real BIRD 2, and beside recorded answers of BIRD 1.6
//! (`reference/calicoctl.md` sections 8.1 and 9, `reference/bgp-node.md` section 5).

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::{Answer, Ctl, Host, LIMIT, Stores, command, scene};

fn status(host: &Arc<Host>) -> Result<Answer> {
    Ctl::new(&Stores::Local(host.clone()), ["node", "status"]).run()
}

/// Runs a program that does nothing under this command line.
fn pretend(host: &Host, title: &str, arguments: &str) -> Result<()> {
    let script = format!("exec -a {title} bash -c 'echo ready; sleep infinity & wait' {arguments}");
    let mut bash = command("bash");
    bash.args(["-c", &script]);
    host.serve(title, bash, "ready").map(drop)
}

/// Answers every connection to a socket with this text.
fn replay(host: &Host, socket: &str, text: &'static str) -> Result<()> {
    let path = host.path(socket);
    fs::create_dir_all(path.parent().context("socket without a folder")?)?;
    let listener = UnixListener::bind(&path)?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut asked = String::new();
            let _ = BufReader::new(&stream).read_line(&mut asked);
            if asked == "show protocols\n" {
                let _ = stream.write_all(text.as_bytes());
            }
            if text.is_empty() {
                // Silent, but there: until the other side gives up.
                let _ = BufReader::new(&stream).read_line(&mut asked);
            }
        }
    });
    Ok(())
}

const BIRD_4: &str = "\
0001 BIRD v0.3.3+birdv1.6.8 ready.
2002-name     proto    table    state  since       info
1002-static1  Static   master   up     23:29:55    
 kernel1  Kernel   master   up     23:29:55    
 device1  Device   master   up     23:29:55    
 direct1  Direct   master   up     23:29:55    
 Mesh_172_17_8_102 BGP      master   up     23:30:04    Established   
 Global_10_20_30_40 BGP      master   start  16:28:38    Connect       
 Node_192_10_0_0 BGP      master   start  16:28:57    Connect       
 Mesh_172_17_8_9 BGP      master   start  2016-11-21  
0000 
";

const BIRD_6: &str = "\
0001 BIRD v0.3.3+birdv1.6.8 ready.
2002-name     proto    table    state  since       info
1002-device1  Device   master   up     23:29:55    
 Node_aa_bb__ff BGP      master   start  16:28:57    Active        Socket: Network is unreachable
0000 
";

const TABLE_4: &str = "\
Calico process is running.

IPv4 BGP status
+--------------+-------------------+-------+------------+-------------+
| PEER ADDRESS |     PEER TYPE     | STATE |   SINCE    |    INFO     |
+--------------+-------------------+-------+------------+-------------+
| 172.17.8.102 | node-to-node mesh | up    | 23:30:04   | Established |
| 10.20.30.40  | global            | start | 16:28:38   | Connect     |
| 192.10.0.0   | node specific     | start | 16:28:57   | Connect     |
| 172.17.8.9   | node-to-node mesh | start | 2016-11-21 |             |
+--------------+-------------------+-------+------------+-------------+
";

#[test]
fn the_two_daemons_of_bird_1_are_asked() {
    scene("status-bird1", |scene| {
        let host = scene.host("node-a")?;
        pretend(&host, "calico-node", "-felix")?;
        pretend(&host, "bird", "")?;
        replay(&host, "/run/calico/bird.ctl", BIRD_4)?;
        let answer = status(&host)?;
        ensure!(answer.exit == Some(0), "{answer:?}");
        let expected = format!("{TABLE_4}\nINFO: BIRDv6 process: 'bird6' is not running.\n\n");
        ensure!(answer.stdout == expected, "{}", answer.stdout);

        pretend(&host, "bird6", "")?;
        replay(&host, "/run/bird/bird6.ctl", BIRD_6)?;
        let expected = format!(
            "{TABLE_4}
IPv6 BGP status
+--------------+---------------+-------+----------+---------------------------------------+
| PEER ADDRESS |   PEER TYPE   | STATE |  SINCE   |                 INFO                  |
+--------------+---------------+-------+----------+---------------------------------------+
| aa:bb::ff    | node specific | start | 16:28:57 | Active Socket: Network is unreachable |
+--------------+---------------+-------+----------+---------------------------------------+

"
        );
        let answer = status(&host)?;
        ensure!(answer.stdout == expected && answer.stderr.is_empty(), "{}", answer.stdout);
        Ok(())
    });
}

#[test]
fn calico_and_bird_are_looked_for_by_program_and_mode() {
    scene("status-processes", |scene| {
        let host = scene.host("node-a")?;
        for (title, arguments) in [("vi", "calico-felix"), ("grep", "-felix"), ("calico-node", "")]
        {
            pretend(&host, title, arguments)?;
            let answer = status(&host)?;
            ensure!(answer.exit == Some(1) && answer.stdout.is_empty(), "{title}: {answer:?}");
            ensure!(answer.stderr == "Calico process is not running.\n", "{answer:?}");
        }
        pretend(&host, "calico-felix", "")?;
        pretend(&host, "tail", "bird")?;
        let answer = status(&host)?;
        let expected = "Calico process is running.\n\nThe BGP backend process (BIRD) is not \
                        running.\n\n";
        ensure!(answer.exit == Some(0) && answer.stdout == expected, "{answer:?}");
        Ok(())
    });
}

#[test]
fn a_daemon_that_cannot_be_asked_is_told_and_the_other_one_is_shown() {
    scene("status-failures", |scene| {
        let host = scene.host("node-a")?;
        pretend(&host, "calico-felix", "")?;
        pretend(&host, "bird", "")?;
        let answer = status(&host)?;
        ensure!(answer.exit == Some(1), "nothing could be read: {answer:?}");
        let expected = "Error querying BIRD: unable to connect to BIRDv4 socket: \
                        /var/run/calico/bird.ctl: No such file or directory (os error 2)\n";
        ensure!(answer.stdout.contains(expected), "{answer:?}");

        replay(&host, "/run/calico/bird.ctl", "")?;
        pretend(&host, "bird6", "")?;
        replay(&host, "/run/calico/bird6.ctl", BIRD_6)?;
        let answer = status(&host)?;
        ensure!(answer.exit == Some(0), "{answer:?}");
        let expected = "IPv4 BGP status\nError querying BIRD: /var/run/calico/bird.ctl: BIRD did \
                        not answer within 2 s\n\nIPv6 BGP status\n+---";
        ensure!(answer.stdout.contains(expected), "{answer:?}");
        ensure!(answer.stdout.contains("| aa:bb::ff"), "{answer:?}");
        ensure!(answer.elapsed < Duration::from_secs(10), "it took {:?}", answer.elapsed);

        fs::remove_file(host.path("/run/calico/bird6.ctl"))?;
        replay(&host, "/run/calico/bird6.ctl", "0001 BIRD 1.6 ready.\n9001 syntax error\n")?;
        let answer = status(&host)?;
        ensure!(answer.exit == Some(1), "{answer:?}");
        let expected = "/var/run/calico/bird6.ctl: unexpected output line from BIRD: \
                        \"9001 syntax error\"\n";
        ensure!(answer.stdout.contains(expected), "{answer:?}");
        Ok(())
    });
}

/// A configuration of BIRD 2 with sessions of every kind, as `own` sees them.
fn bird_2(own: u8, other: u8) -> String {
    let passive = if own == 1 { "passive on;" } else { "" };
    format!(
        "log stderr all;
debug protocols {{ states }};
router id 10.9.0.{own};
protocol device {{ }}
template bgp peer4 {{
  local 10.9.0.{own} as 64512;
  multihop;
  connect delay time 1; connect retry time 1;
  ipv4 {{ import all; export none; }};
}}
protocol bgp Mesh_10_9_0_{other} from peer4 {{ neighbor 10.9.0.{other} as 64512; {passive} }}
protocol bgp Mesh_10_9_0_7 from peer4 {{ neighbor 10.9.0.7 as 64512; passive on; }}
protocol bgp Global_10_9_0_8_port_1790 from peer4 {{ neighbor 10.9.0.8 port 1790 as 64567; }}
protocol bgp Node_fd09__{other} {{
  local fd09::{own} as 64512;
  neighbor fd09::{other} as 64512;
  connect delay time 1; connect retry time 1;
  ipv6 {{ import all; export none; }};
}}
"
    )
}

#[test]
fn one_daemon_of_bird_2_tells_of_both_families() {
    scene("status-bird2", |scene| {
        let (a, b) = (scene.host("node-a")?, scene.host("node-b")?);
        a.wire(&b, "wire")?;
        for (host, own, other) in [(&a, 1, 2), (&b, 2, 1)] {
            host.run(format!("ip address add 10.9.0.{own}/24 dev wire").split(' '))?;
            host.run(format!("ip address add fd09::{own}/64 dev wire nodad").split(' '))?;
            host.write("/etc/calico/bird.cfg", bird_2(own, other))?;
            fs::create_dir_all(host.path("/run/calico"))?;
            pretend(host, "calico-felix", "")?;
        }
        let bird = |socket: &str| {
            let mut bird = command("bird");
            bird.args(["-f", "-c", "/etc/calico/bird.cfg", "-s", socket]);
            bird
        };
        a.serve("bird", bird("/run/calico/bird.ctl"), "Started")?;
        // Where Debian's own BIRD has its socket.
        fs::create_dir_all(b.path("/run/bird"))?;
        b.serve("bird", bird("/run/bird/bird.ctl"), "Mesh_10_9_0_1: State changed to up")?;

        for (host, other) in [(&a, 2), (&b, 1)] {
            // The session of IPv6 comes up in its own time; nobody tells, so it is asked for.
            let end = Instant::now() + LIMIT;
            let answer = loop {
                let answer = status(host)?;
                ensure!(answer.exit == Some(0) && Instant::now() < end, "{answer:?}");
                if answer.stdout.matches("Established").count() == 2 {
                    break answer.stdout;
                }
            };
            let rows: Vec<Vec<&str>> = answer
                .lines()
                .filter(|line| line.starts_with("| ") && !line.contains("PEER"))
                .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
                .collect();
            let first = format!("10.9.0.{other}");
            ensure!(rows[0][..3] == [&first, "node-to-node mesh", "up"], "{answer}");
            ensure!(rows[1][..3] == ["10.9.0.7", "node-to-node mesh", "start"], "{answer}");
            ensure!(rows[1][4] == "Passive", "{answer}");
            ensure!(rows[2][..3] == ["10.9.0.8:1790", "global", "start"], "{answer}");
            let sixth = format!("fd09::{other}");
            ensure!(rows[3][..3] == [&sixth, "node specific", "up"], "{answer}");
            ensure!(rows.len() == 4 && rows.iter().all(|row| row[3].len() == 8), "{answer}");
            let (v4, v6) = answer.split_once("IPv6 BGP status").context("no IPv6")?;
            ensure!(v4.contains("IPv4 BGP status") && v6.contains(&sixth), "{answer}");
        }
        Ok(())
    });
}
