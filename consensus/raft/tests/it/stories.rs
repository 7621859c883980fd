//! Stories: text files of what is done to a group and what comes of it, line by line. A change of the protocol shows as a change of a story.
//!
//! A line that begins with `>` is done; what follows it is what happened until the next. `NORI_WRITE_STORIES=1 cargo test -p nori-raft stories`
//! writes them anew; a person reads the difference.

use nori_consensus::world::World;
use nori_consensus::{Consistency, Input, NodeId, Settings};
use nori_raft::NoriRaft;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const STORIES: [&str; 6] = ["election", "repair", "joint", "snapshot", "lease", "sleep"];

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/stories").join(format!("{name}.txt"))
}

fn node(word: &str) -> NodeId {
    NodeId(word.trim_start_matches('n').parse().expect("a node is n1, n2, .."))
}

fn millis(word: &str) -> Duration {
    Duration::from_millis(word.trim_end_matches("ms").parse().expect("a time is 20ms"))
}

/// A story being played.
struct Play {
    world: World,
    told: usize,
}

impl Play {
    /// `group 3`, with `trailing 5` or `sleep 200ms`.
    fn begin(words: &[&str]) -> Self {
        let mut settings = Settings::default();
        for setting in words[1..].chunks(2) {
            match setting {
                ["trailing", entries] => {
                    settings.trailing_entries =
                        entries.parse().expect("a story that can be played");
                }
                ["sleep", after] => settings.quiesce_after = Some(millis(after)),
                other => panic!("{other:?} is no setting of a story"),
            }
        }
        let factory: Arc<dyn nori_consensus::ConsensusFactory> =
            Arc::new(NoriRaft::new(settings).expect("a story that can be played"));
        let mut world =
            World::new(&factory, 1, words[0].parse().expect("a story that can be played"))
                .expect("a story that can be played");
        world.chronicle.keep_lines();
        Self { world, told: 0 }
    }

    fn act(&mut self, words: &[&str]) {
        let world = &mut self.world;
        match words {
            ["run", time] => world.run_for(millis(time)).expect("a story that can be played"),
            ["propose", at, text] => {
                world.propose(node(at), text.as_bytes()).expect("a story that can be played");
            }
            ["propose", at, text, count] => {
                for _ in 0..count.parse().expect("a story that can be played") {
                    world.propose(node(at), text.as_bytes()).expect("a story that can be played");
                }
            }
            ["read", at] => {
                world
                    .read(node(at), Consistency::Linearizable)
                    .expect("a story that can be played");
            }
            ["lease", at] => {
                world.read(node(at), Consistency::Lease).expect("a story that can be played");
            }
            ["campaign", who] => {
                world
                    .step(node(who), Input::CampaignRequested)
                    .expect("a story that can be played");
            }
            ["transfer", from, to] => {
                world
                    .step(node(from), Input::TransferRequested { to: node(to) })
                    .expect("a story that can be played");
            }
            ["crash", who] => world.crash(node(who)),
            ["start", who] => world.start(node(who)).expect("a story that can be played"),
            ["split", group @ ..] => {
                let group: Vec<NodeId> = group.iter().map(|who| node(who)).collect();
                world.split(&group);
            }
            ["heal"] => world.heal(),
            ["join", who] => {
                world.add(node(who), Default::default());
                world.start(node(who)).expect("a story that can be played");
            }
            ["members", leader, voters @ ..] => {
                let now = world
                    .host(node(leader))
                    .status()
                    .expect("a story that can be played")
                    .membership
                    .clone();
                let voters = voters.iter().map(|who| node(who)).collect();
                world
                    .change(node(leader), now.to(voters, Default::default()))
                    .expect("a story that can be played");
            }
            other => panic!("{other:?} is nothing a story can do"),
        }
    }

    /// What happened since the last call, without the time.
    fn told(&mut self) -> Vec<String> {
        let lines = &self.world.chronicle.lines()[self.told..];
        self.told += lines.len();
        lines.iter().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect()
    }
}

/// The story as it is now.
fn play(story: &str) -> String {
    let mut play = None;
    let mut out = String::new();
    for line in story.lines().filter(|line| line.starts_with(['>', '#']) || line.is_empty()) {
        out.push_str(line);
        out.push('\n');
        let Some(action) = line.strip_prefix('>') else { continue };
        let words: Vec<&str> = action.split_whitespace().collect();
        if let ["group", rest @ ..] = &words[..] {
            play = Some(Play::begin(rest));
        } else {
            play.as_mut().expect("a story begins with a group").act(&words);
        }
        for told in play.as_mut().map(Play::told).unwrap_or_default() {
            out.push_str(&told);
            out.push('\n');
        }
    }
    out
}

#[test]
fn stories_are_told_as_they_were() {
    for name in STORIES {
        let path = path(name);
        let known = std::fs::read_to_string(&path).unwrap();
        let now = play(&known);
        if std::env::var_os("NORI_WRITE_STORIES").is_some() {
            std::fs::write(&path, now).unwrap();
        } else {
            assert!(known == now, "{name} is told otherwise; NORI_WRITE_STORIES=1 writes it anew");
        }
    }
}
