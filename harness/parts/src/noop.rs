//! An engine that does nothing: every key is there with an empty value, every write succeeds.
//!
//! It breaks every law of a store on purpose. A run against it takes as long as the harness itself takes.

use nori_kv::{
    Capabilities, Cursor, Durability, Engine, EngineFactory, EngineStats, KeyRange, Parts,
    ReadOptions, Reader, Result, Row, SeqNo, WriteBatch,
};
use std::path::Path;
use std::sync::Arc;

/// Opens stores that do nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopFactory;

impl EngineFactory for NoopFactory {
    fn name(&self) -> &str {
        "noop"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(&Capabilities::ALL_DURABILITIES, &[], WriteBatch::KEY_BYTES_MAX)
    }

    fn settings(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn open(&self, _dir: &Path, _parts: Parts) -> Result<Arc<dyn Engine>> {
        Ok(Arc::new(Noop))
    }

    fn destroy(&self, _dir: &Path, _parts: &Parts) -> Result<()> {
        Ok(())
    }
}

struct Noop;

impl Reader for Noop {
    fn read(
        &self,
        key: &[u8],
        _options: &ReadOptions,
        sink: &mut dyn FnMut(Row<'_>),
    ) -> Result<bool> {
        sink(Row { key, value: &[] });
        Ok(true)
    }

    fn cursor(&self, _range: &KeyRange, _options: &ReadOptions) -> Result<Box<dyn Cursor>> {
        Ok(Box::new(Everywhere))
    }
}

impl Engine for Noop {
    fn write(&self, _batch: &WriteBatch, _durability: Durability) -> Result<SeqNo> {
        Ok(SeqNo::ZERO)
    }

    fn snapshot(&self) -> Result<Arc<dyn Reader>> {
        Ok(Arc::new(Noop))
    }

    fn stats(&self) -> EngineStats {
        EngineStats::default()
    }
}

/// A cursor that always has a row.
struct Everywhere;

impl Cursor for Everywhere {
    fn seek(&mut self, _key: &[u8]) -> Result<bool> {
        Ok(true)
    }

    fn seek_back(&mut self, _key: &[u8]) -> Result<bool> {
        Ok(true)
    }

    fn next(&mut self) -> Result<bool> {
        Ok(true)
    }

    fn prev(&mut self) -> Result<bool> {
        Ok(true)
    }

    fn row(&self) -> Option<Row<'_>> {
        Some(Row { key: &[], value: &[] })
    }
}
