//! `sdks/spec/routing.json`, which holds every client to one answer.

use norikv_placement::{ShardCount, jump, shard_of};
use serde_json::Value;

fn spec() -> Value {
    serde_json::from_str(include_str!("../../../../sdks/spec/routing.json")).unwrap()
}

fn bytes_of_hex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn every_published_vector_of_jump_holds() {
    let spec = spec();
    let vectors = spec["jump_published"].as_array().unwrap();
    assert!(vectors.len() >= 26);
    for vector in vectors {
        let hash: u64 = vector["key"].as_str().unwrap().parse().unwrap();
        let buckets = vector["buckets"].as_u64().unwrap() as u32;
        assert_eq!(u64::from(jump(hash, buckets)), vector["bucket"].as_u64().unwrap(), "{vector}");
    }
}

#[test]
fn every_key_of_the_spec_has_its_hash_and_its_shards() {
    let spec = spec();
    let vectors = spec["routing"].as_array().unwrap();
    assert!(vectors.len() >= 244);
    for vector in vectors {
        let key = bytes_of_hex(vector["key_hex"].as_str().unwrap());
        let hash = u64::from_str_radix(vector["xxh64_hex"].as_str().unwrap(), 16).unwrap();
        let shards = vector["shard"].as_object().unwrap();
        assert_eq!(shards.len(), 9, "{vector}");
        for (count, shard) in shards {
            let count = ShardCount::new(count.parse().unwrap()).unwrap();
            let shard = shard.as_u64().unwrap() as u32;
            assert_eq!(shard_of(&key, count).0, shard, "{vector} of {count:?}");
            assert_eq!(jump(hash, count.get()), shard, "{vector} of {count:?}");
        }
    }
}
