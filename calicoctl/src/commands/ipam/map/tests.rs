//! Pictures of several situations, as they are drawn.

use ipnet::IpNet;
use libcalico::ipam::Block;
use libcalico::resources::Kind;
use libcalico::store::{AffinityOwner, Document, Key};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::picture::{Frame, Owner, Picture, Row, Scale};
use super::terminal::{Colours, draw, frame};
use super::{SVG_FRAME, svg};
use crate::commands::ipam::survey::Survey;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

fn document(key: Key, value: &Value) -> Document {
    Document { key, value: value.to_string().into_bytes(), revision: 1 }
}

fn resource(kind: Kind, name: &str, spec: &Value) -> Document {
    let value = json!({"metadata": {"name": name}, "spec": spec});
    document(Key::global(kind, name), &value)
}

fn pool(name: &str, cidr: &str, block_size: u8) -> Document {
    resource(Kind::IpPool, name, &json!({"cidr": cidr, "blockSize": block_size}))
}

/// A block: its addresses are given to these nodes in order; `-` cools down, `.` stays free.
fn block(cidr: &str, owner: Option<&str>, nodes: &[&str]) -> Document {
    let owner = owner.map(AffinityOwner::host);
    let cidr = net(cidr);
    let mut block = Block::new(cidr, owner.as_ref(), None, NOW);
    for (ip, node) in cidr.hosts_and_ends().zip(nodes) {
        match *node {
            "." => {}
            "-" => {
                block.assign(ip, None, &Default::default()).expect("it is free");
                let record = block.record_mut(ip).expect("inside").expect("a record");
                record.released_at = Some("1970-01-01T00:00:00Z".to_owned());
            }
            node => {
                let attributes = [("node".to_owned(), node.to_owned())].into();
                block.assign(ip, Some(&format!("h-{ip}")), &attributes).expect("it is free");
            }
        }
    }
    Document { key: Key::Block(cidr), value: block.encode(), revision: 1 }
}

trait Addresses {
    /// All addresses of a network, the first and the last among them.
    fn hosts_and_ends(&self) -> Box<dyn Iterator<Item = std::net::IpAddr>>;
}

impl Addresses for IpNet {
    fn hosts_and_ends(&self) -> Box<dyn Iterator<Item = std::net::IpAddr>> {
        let length = self.max_prefix_len();
        Box::new(self.subnets(length).expect("single addresses").map(|one| one.addr()))
    }
}

fn endpoint(name: &str, ip: &str) -> Document {
    let value = json!({"metadata": {"name": name, "namespace": "default"},
                       "spec": {"ipNetworks": [format!("{ip}/{}", if ip.contains(':') { 128 } else { 32 })]}});
    document(Key::namespaced(Kind::WorkloadEndpoint, "default", name), &value)
}

fn config() -> Document {
    document(Key::IpamConfig, &json!({"auto_allocate_blocks": true, "ipCooldownSeconds": 30}))
}

fn picture(documents: Vec<Document>, zoom: Option<&str>, frame: Frame) -> Picture {
    let survey = Survey::of(documents);
    Picture::draw(&survey, |_, _| true, zoom.map(net), frame, NOW)
}

fn text(documents: Vec<Document>, zoom: Option<&str>, width: usize) -> String {
    draw(&picture(documents, zoom, frame(width)), width, Colours::None)
}

/// A pool of 16 addresses with one of everything.
fn everything() -> Vec<Document> {
    let reserved = json!({"reservedCIDRs": ["10.0.0.12/30"]});
    vec![
        config(),
        pool("p", "10.0.0.0/28", 30),
        resource(Kind::IpReservation, "r", &reserved),
        block("10.0.0.0/30", Some("n1"), &["n1", "n2", "n1"]),
        block("10.0.0.4/30", Some("n2"), &["n2", "-"]),
        endpoint("a", "10.0.0.0"),
        endpoint("b", "10.0.0.1"),
        endpoint("c", "10.0.0.4"),
    ]
}

#[test]
fn a_small_pool_shows_every_address_and_what_is_special_about_it() {
    let expected = "\
p  10.0.0.0/28
2 of 4 blocks of /30 claimed; 4 in use, 1 of them borrowed, 1 of them leaked, 1
  cooling down, 4 reserved, 7 free

10.0.0.0 AAAA^^^^!!!!aaaaBBBB~~~~bbbbbbbb................################
borrowed: 10.0.0.1 (n2 from n1)
cooling: 10.0.0.5
leaked: 10.0.0.2 (n1, h-10.0.0.2)

aA n1: 1 block, 2 addresses
bB n2: 1 block, 2 addresses
each cell is an address: capitals are in use, small letters free in a node's
  block, . in no block
!  leaked: allocated, and nobody uses it
^  borrowed: used by another node than the block's
~  cooling down: released a short while ago
#  reserved: not given out by itself
";
    assert_eq!(text(everything(), None, 80), expected);
}

#[test]
fn a_closer_look_shows_a_part_of_a_pool() {
    let picture = picture(everything(), Some("10.0.0.4/30"), SVG_FRAME);
    let pool = &picture.pools[0];
    assert_eq!((pool.shown, pool.blocks, pool.scale), (net("10.0.0.4/30"), 1, Scale::Address));
    assert_eq!((pool.counts.in_use, pool.counts.cooling, pool.counts.reserved), (1, 1, 0));
    let drawn = draw(&picture, 80, Colours::None);
    assert!(drawn.starts_with("p  10.0.0.0/28  (shown: 10.0.0.4/30)\n"), "{drawn}");
    assert!(!drawn.contains("borrowed"), "{drawn}");
}

#[test]
fn a_pool_of_many_addresses_shows_blocks() {
    let full = ["n1"; 64];
    let documents = vec![
        pool("p", "10.0.0.0/16", 26),
        block("10.0.0.0/26", Some("n1"), &full[..40]),
        block("10.0.16.64/26", Some("n2"), &full[..1]),
        block("10.0.255.192/26", None, &full[..1]),
    ];
    let picture = picture(documents, None, frame(80));
    let pool = &picture.pools[0];
    assert_eq!((pool.scale, pool.rows.len(), pool.blocks), (Scale::Block, 16, 1024));
    let drawn = draw(&picture, 80, Colours::None);
    let rows: Vec<&str> = drawn.lines().filter(|line| line.starts_with("10.0.")).collect();
    assert_eq!(rows.len(), 16);
    assert!(rows.iter().all(|row| row.len() == 75), "{drawn}");
    assert!(rows[0].starts_with("10.0.0.0   !....."), "{drawn}");
    assert!(rows[1].starts_with("10.0.16.0  .!...."), "{drawn}");
    assert!(rows[15].ends_with('!'), "{drawn}");
}

/// Capitals from half full on; a block of several nodes can't be, but a range of blocks can.
#[test]
fn a_huge_pool_shows_ranges() {
    let mut documents = vec![config(), pool("p", "10.0.0.0/8", 26)];
    for block_of in 0..40 {
        documents.push(block(&format!("10.0.{block_of}.0/26"), Some("n1"), &[]));
    }
    documents.push(block("10.1.0.0/26", Some("n2"), &[]));
    documents.push(block("10.0.40.0/26", Some("n2"), &[]));
    let picture = picture(documents, None, frame(80));
    assert_eq!(picture.pools[0].scale, Scale::Range(18));
    let drawn = draw(&picture, 80, Colours::None);
    let row = drawn.lines().find(|line| line.starts_with("10.0.0.0 ")).expect("the first row");
    assert!(row.trim_start_matches("10.0.0.0").trim_start().starts_with("%...b"), "{drawn}");
}

#[test]
fn of_a_sea_of_addresses_only_the_islands_are_shown() {
    let documents = vec![
        config(),
        pool("six", "fd00::/64", 122),
        block("fd00::40/122", Some("n1"), &["n1"]),
        block("fd00::80/122", Some("n2"), &[]),
        endpoint("a", "fd00::40"),
    ];
    let expected = format!(
        "\
six  fd00::/64
2 of 2^58 blocks of /122 claimed; 1 in use, 2^64 free

         ... 1 free block
fd00::40 A{}
fd00::80 {}
         ... 2^58 free blocks

aA n1: 1 block, 1 address
bB n2: 1 block, 0 addresses
each cell is an address: capitals are in use, small letters free in a node's
  block, . in no block
",
        "a".repeat(63),
        "b".repeat(64)
    );
    let picture = picture(documents, None, frame(80));
    assert_eq!(draw(&picture, 80, Colours::None), expected);
    // Numbers may be too large for 64 bits.
    let json = serde_json::to_string(&picture).expect("it has a JSON form");
    assert!(json.contains("18446744073709551616"), "{json}");
}

#[test]
fn lines_fit_into_any_width() {
    for width in [24, 40, 60, 80, 120, 200] {
        let drawn = text(everything(), None, width);
        let longest = drawn.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(width.max(40)), "{width}: {drawn}");
    }
}

#[test]
fn colours_are_only_there_when_they_are_wanted() {
    let picture = picture(everything(), None, frame(80));
    assert!(!draw(&picture, 80, Colours::None).contains('\x1b'));
    assert!(draw(&picture, 80, Colours::None).is_ascii());
    let full = draw(&picture, 80, Colours::Full);
    assert!(full.contains("\x1b[38;2;") && full.contains('█'), "{full}");
    let cube = draw(&picture, 80, Colours::Cube);
    assert!(cube.contains("\x1b[38;5;") && !cube.contains("38;2;"), "{cube}");
    // Each line ends as it began: nothing of it colours the next one.
    assert!(full.lines().all(|line| line.matches('\x1b').count() % 2 == 0), "{full}");
}

/// The same node has the same colour whichever pools are drawn, and node-2 comes before node-10.
#[test]
fn nodes_are_in_their_natural_order() {
    let documents = vec![
        pool("p", "10.0.0.0/28", 30),
        resource(Kind::Node, "node-10", &json!({})),
        resource(Kind::Node, "node-2", &json!({})),
        resource(Kind::Node, "node-1", &json!({})),
        block("10.0.0.0/30", Some("node-10"), &[]),
    ];
    let picture = picture(documents, None, SVG_FRAME);
    let names: Vec<&str> = picture.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["node-1", "node-2", "node-10"]);
    let Row::Cells(cells) = &picture.pools[0].rows[0] else { panic!("no cells") };
    assert_eq!(cells[0].owner, Owner::Node(2));
}

#[test]
fn the_image_is_whole_and_speaks() {
    let picture = picture(everything(), None, SVG_FRAME);
    let image = svg::draw(&picture);
    assert!(image.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""), "{image}");
    assert!(image.contains("role=\"img\" aria-labelledby=\"title description\""));
    assert!(image.contains("<title id=\"title\">Addresses of the IP pools</title>"));
    for words in [
        "10.0.0.1, of n1: 1 in use, 1 of them borrowed, 0 free; used by n2",
        "10.0.0.2, of n1: 1 in use, 1 of them leaked, 0 free; used by n1",
        "10.0.0.5, of n2: 0 in use, 1 cooling down, 0 free",
        "10.0.0.12, in no block: 0 in use, 1 reserved, 0 free",
        "n1: 1 blocks, 2 in use",
    ] {
        assert!(image.contains(words), "{words:?} is not in {image}");
    }
    // Every element that is opened is closed, and nothing comes from elsewhere.
    for name in ["svg", "g", "title", "desc", "style", "defs", "pattern", "text"] {
        let opened = image.matches(&format!("<{name} ")).count()
            + image.matches(&format!("<{name}>")).count();
        assert_eq!(opened, image.matches(&format!("</{name}>")).count(), "{name}");
    }
    assert!(!image.contains("href") && image.matches("http").count() == 1);
}

/// Names come from the datastore: none may become part of the image.
#[test]
fn names_are_escaped() {
    let documents =
        vec![pool("p", "10.0.0.0/28", 30), block("10.0.0.0/30", Some("<script>&\""), &[])];
    let image = svg::draw(&picture(documents, None, SVG_FRAME));
    assert!(!image.contains("<script>") && image.contains("&lt;script&gt;&amp;&quot;"));
}

#[test]
fn a_large_pool_makes_a_small_image() {
    let mut documents = vec![pool("p", "10.0.0.0/8", 26)];
    for second in 0..200 {
        documents.push(block(&format!("10.{second}.0.0/26"), Some("n1"), &[]));
    }
    let image = svg::draw(&picture(documents, None, SVG_FRAME));
    assert!(image.len() < 100_000, "{} bytes", image.len());
}
