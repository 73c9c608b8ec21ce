//! Model of NVIDIA's firmware r36.5: its variables, the rule which slot starts, and the
//! retry counter in a register of the chip.
#![allow(dead_code, reason = "each test file uses a part")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::resume_unwind;

use anyhow::{Result, bail};
use edge_os::backend::{Backend, KEPT, NORMAL, UNBOOTABLE, VOLATILE, Value, Variable};
use edge_os::slot::Slot;

/// Power loss: what unwinds from the access to a variable.
pub struct PowerLoss;

/// Firmware's answer to a request to change the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Follows,
    Refuses(u32),
    /// The request is deleted, and nothing is set.
    Ignores,
    /// The request is not looked at.
    Sleeps,
}

pub struct Firmware {
    variables: RefCell<BTreeMap<Variable, Value>>,
    chain: Cell<Slot>,
    /// Attempts left for each slot; `None` after a power loss.
    register: Cell<Option<[u8; 2]>>,
    /// Accesses until the power is lost, and whether the last one takes place.
    pub loss: Cell<Option<(usize, bool)>>,
    pub accesses: Cell<usize>,
    /// Answers to the next requests of the system; [`Answer::Follows`] afterwards.
    pub answers: RefCell<Vec<Answer>>,
    requested: Cell<bool>,
}

fn value(attributes: u32, number: u32) -> Value {
    Value {
        attributes,
        data: number.to_le_bytes().to_vec(),
    }
}

impl Default for Firmware {
    fn default() -> Self {
        let firmware = Self {
            variables: RefCell::default(),
            chain: Cell::new(Slot::A),
            register: Cell::new(None),
            loss: Cell::new(None),
            accesses: Cell::new(0),
            answers: RefCell::default(),
            requested: Cell::new(false),
        };
        for slot in Slot::ALL {
            firmware.put(Variable::Status(slot), KEPT, NORMAL);
        }
        firmware
    }
}

impl Firmware {
    pub fn put(&self, variable: Variable, attributes: u32, number: u32) {
        let mut variables = self.variables.borrow_mut();
        variables.insert(variable, value(attributes, number));
    }

    pub fn take(&self, variable: Variable) -> Option<u32> {
        let value = self.variables.borrow_mut().remove(&variable);
        value.and_then(|v| v.number())
    }

    pub fn peek(&self, variable: Variable) -> Option<u32> {
        self.variables.borrow().get(&variable)?.number()
    }

    fn bad(&self, slot: Slot) -> bool {
        self.peek(Variable::Status(slot)) == Some(UNBOOTABLE)
    }

    /// Starts the device; `None` if the firmware ends in its shell.
    pub fn start(&self, cold: bool) -> Option<Slot> {
        self.loss.set(None);
        if cold {
            self.register.set(None);
        }
        for _ in 0..20 {
            self.change_chain();
            self.put(Variable::RedundancyLevel, VOLATILE, 1);
            self.put(Variable::RetryCountMax, VOLATILE, 3);
            self.put(Variable::FwCurrent, VOLATILE, self.chain.get().number());
            let slot = self.chain.get();
            let fresh = Slot::ALL.map(|s| if self.bad(s) { 0 } else { 3 });
            let mut left = self.register.get().unwrap_or(fresh);
            let (here, there) = (slot.number() as usize, slot.other().number() as usize);
            if self.bad(Slot::A) && self.bad(Slot::B) {
                return None;
            }
            if left[here] > 0 {
                left[here] -= 1;
                self.register.set(Some(left));
                self.put(Variable::OsCurrent, VOLATILE, slot.number());
                return Some(slot);
            }
            self.put(Variable::Status(slot), KEPT, UNBOOTABLE);
            if left[there] == 0 {
                return None;
            }
            self.put(Variable::FwNext, KEPT, slot.other().number());
            self.take(Variable::FwStatus);
            self.register.set(None);
        }
        panic!("the firmware never comes to an end");
    }

    fn change_chain(&self) {
        let Some(next) = self.peek(Variable::FwNext) else {
            return;
        };
        let asked = self.requested.replace(false);
        let answer = match self.answers.borrow_mut().pop().filter(|_| asked) {
            Some(answer) => answer,
            None => Answer::Follows,
        };
        if answer == Answer::Sleeps {
            return;
        }
        self.take(Variable::FwNext);
        let blocked = self.peek(Variable::FwStatus).is_some_and(|s| s != 1);
        if blocked || answer == Answer::Ignores {
            return;
        }
        let status = match (answer, Slot::from_number(next)) {
            (Answer::Refuses(code), _) => code,
            (_, None) => 9,
            (_, Some(slot)) if slot == self.chain.get() => 2,
            (_, Some(slot)) => {
                self.chain.set(slot);
                self.register.set(None);
                0
            }
        };
        self.put(Variable::FwStatus, KEPT, status);
    }

    /// Counts an access, and loses the power before or after it.
    fn access<T>(&self, work: impl FnOnce() -> T) -> T {
        self.accesses.set(self.accesses.get() + 1);
        match self.loss.get() {
            Some((0, false)) => resume_unwind(Box::new(PowerLoss)),
            Some((0, true)) => {
                work();
                resume_unwind(Box::new(PowerLoss))
            }
            Some((left, after)) => {
                self.loss.set(Some((left - 1, after)));
                work()
            }
            None => work(),
        }
    }
}

impl Backend for Firmware {
    fn get(&self, variable: Variable) -> Result<Option<Value>> {
        Ok(self.variables.borrow().get(&variable).cloned())
    }

    fn set(&self, variable: Variable, number: u32) -> Result<()> {
        self.access(|| {
            let attributes = match self.get(variable)? {
                Some(value) if value.attributes == VOLATILE => bail!("write-protected"),
                Some(value) => value.attributes,
                None => KEPT,
            };
            if variable == Variable::FwNext {
                self.requested.set(true);
            }
            self.put(variable, attributes, number);
            Ok(())
        })
    }

    fn delete(&self, variable: Variable) -> Result<()> {
        self.access(|| {
            self.take(variable);
            Ok(())
        })
    }

    fn reset_counter(&self) -> Result<()> {
        self.access(|| {
            let mut left = self.register.get().unwrap_or([3; 2]);
            left[self.chain.get().number() as usize] = 3;
            self.register.set(Some(left));
            Ok(())
        })
    }
}
