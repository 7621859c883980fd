//! stub
use crate::*;
use std::sync::Arc;
#[allow(missing_docs)]
pub struct Entry {
    pub name: &'static str,
    pub about: &'static str,
    pub make: fn(Shape) -> Box<dyn Strategy>,
}
struct Nop;
impl Strategy for Nop {
    fn name(&self) -> &str {
        "leveled"
    }
    fn plan(&mut self, _: &TreeView<'_>) -> Vec<Plan> {
        vec![]
    }
    fn debt(&self, _: &TreeView<'_>) -> Debt {
        Debt::default()
    }
    fn plan_manual(&mut self, _: &TreeView<'_>, _: &nori_kv::KeyRange) -> Option<Plan> {
        None
    }
}
fn nop(_: Shape) -> Box<dyn Strategy> {
    Box::new(Nop)
}
#[allow(missing_docs)]
pub fn strategies() -> &'static [Entry] {
    &[Entry { name: "leveled", about: "x", make: nop }]
}
#[allow(missing_docs)]
pub fn strategy(_: &str) -> Option<fn(Shape) -> Box<dyn Strategy>> {
    Some(nop)
}
#[allow(missing_docs)]
pub fn validate(_: &TreeView<'_>, _: &Plan) -> Result<(), Refusal> {
    Ok(())
}
#[allow(missing_docs)]
pub fn validate_install(_: &TreeView<'_>, _: &Plan, _: &[Arc<TableStats>]) -> Result<(), Refusal> {
    Ok(())
}
