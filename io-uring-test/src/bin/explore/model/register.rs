//! Register calls about memory.

use super::buffers::Group;
use super::cqueue::{Cqe, Size};
use super::errno::*;
use super::files::{File, Files};
use super::registered::Registered;
use super::restrict::call;
use super::ring::Ring;

impl Ring {
    pub(crate) fn register_buffers(&mut self, new: Vec<Option<Registered>>) -> Result<(), i32> {
        self.may_call(call::BUFFERS2)?;
        if new.is_empty() {
            return Err(EINVAL);
        }
        if self.buffers.is_some() {
            return Err(EBUSY);
        }
        self.buffers = Some(new);
        Ok(())
    }

    pub(crate) fn update_buffer(
        &mut self,
        slot: usize,
        new: Option<Registered>,
    ) -> Result<usize, i32> {
        self.may_call(call::BUFFERS_UPDATE)?;
        let slot = self.buffers.as_mut().ok_or(ENXIO)?.get_mut(slot).ok_or(EINVAL)?;
        let old = std::mem::replace(slot, new);
        self.post_tag(old.map_or(0, |old| old.tag));
        Ok(1)
    }

    pub(crate) fn unregister_buffers(&mut self) -> Result<(), i32> {
        self.may_call(call::UNREGISTER_BUFFERS)?;
        let all = self.buffers.take().ok_or(ENXIO)?;
        // The kernel releases the slots in reverse order, the last one first.
        all.into_iter().rev().for_each(|one| self.post_tag(one.map_or(0, |one| one.tag)));
        Ok(())
    }

    /// The kernel releases a resource and posts its tag. It posts nothing for the tag 0.
    pub(super) fn post_tag(&mut self, user_data: u64) {
        if user_data == 0 {
            return;
        }
        let big = (self.cq.size == Size::Big).then_some([0; 2]);
        self.cq.post(Cqe { user_data, result: 0, flags: 0, big });
        self.commit();
    }

    /// Clones registered buffers of another ring, without their tags: `n` of them (0 means all),
    /// from the slots that start at `from` to the slots that start at `to`.
    pub(crate) fn clone_buffers(
        &mut self,
        source: Option<&[Option<Registered>]>,
        from: usize,
        to: usize,
        n: usize,
        replaces: bool,
    ) -> Result<(), i32> {
        self.may_call(call::CLONE_BUFFERS)?;
        if self.buffers.is_some() && !replaces {
            return Err(EBUSY);
        }
        if n == 0 && (from > 0 || to > 0) {
            return Err(EINVAL);
        }
        let source = source.ok_or(ENXIO)?;
        if n > source.len() {
            return Err(EINVAL);
        }
        let n = if n == 0 { source.len() } else { n };
        let taken = source.get(from..from + n).ok_or(EOVERFLOW)?;
        let old = self.buffers.take().unwrap_or_default();
        let mut new = old.clone();
        new.resize(old.len().max(to + n), None);
        for (i, slot) in taken.iter().enumerate() {
            new[to + i] = slot.map(|slot| Registered { tag: 0, ..slot });
        }
        self.buffers = Some(new);
        // The kernel releases the replaced buffers, the last slot first. The others stay
        // registered.
        for (i, slot) in old.iter().enumerate().rev() {
            if (to..to + n).contains(&i) {
                self.post_tag(slot.map_or(0, |slot| slot.tag));
            }
        }
        Ok(())
    }

    /// Registers files, or empty slots.
    pub(crate) fn register_files(&mut self, new: Vec<Option<File>>) -> Result<(), i32> {
        self.may_call(call::FILES2)?;
        if new.is_empty() {
            return Err(EINVAL);
        }
        if self.slots.is_some() {
            return Err(EBUSY);
        }
        self.slots = Some(Files::new(new));
        Ok(())
    }

    /// Fills or empties a slot. With `tags`, uses the call that also takes a tag.
    pub(crate) fn update_file(
        &mut self,
        slot: u32,
        new: Option<File>,
        tags: bool,
    ) -> Result<usize, i32> {
        self.may_call(if tags { call::FILES_UPDATE2 } else { call::FILES_UPDATE })?;
        let slots = self.slots.as_mut().ok_or(ENXIO)?;
        if !slots.has(slot) {
            return Err(EINVAL);
        }
        let old = slots.put(slot, new);
        self.post_tag(old.map_or(0, |old| old.tag));
        Ok(1)
    }

    pub(crate) fn unregister_files(&mut self) -> Result<(), i32> {
        self.may_call(call::UNREGISTER_FILES)?;
        let all = self.slots.take().ok_or(ENXIO)?.all();
        all.into_iter().rev().for_each(|one| self.post_tag(one.map_or(0, |one| one.tag)));
        Ok(())
    }

    /// Sets the range of slots in which the kernel may choose.
    pub(crate) fn limit_files(&mut self, first: u32, len: u32) -> Result<(), i32> {
        self.may_call(call::FILE_ALLOC_RANGE)?;
        let fits = match &mut self.slots {
            Some(slots) => slots.limit(first, len),
            None => first + len == 0,
        };
        if fits { Ok(()) } else { Err(EINVAL) }
    }

    /// Registers a group of provided buffers, in the program's memory or (`kernels`) in the
    /// kernel's memory.
    pub(crate) fn register_group(
        &mut self,
        group: usize,
        entries: u16,
        kernels: bool,
        generation: u64,
    ) -> Result<(), i32> {
        if entries == 0 || kernels && !entries.is_power_of_two() {
            return Err(EINVAL);
        }
        if kernels && !self.built.descriptor {
            // Without a descriptor, the program cannot map the kernel's memory.
            return Err(EBADF);
        }
        self.may_call(call::PBUF_RING)?;
        if !entries.is_power_of_two() {
            return Err(EINVAL);
        }
        if self.groups[group].is_some() {
            return Err(EEXIST);
        }
        self.groups[group] = Some(Group::new(generation, group == 1, kernels, entries));
        Ok(())
    }
}
