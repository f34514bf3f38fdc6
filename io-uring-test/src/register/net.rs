//! Busy polling.

use rustix_uring::sys::{io_uring_napi, io_uring_register_op::*};
use rustix_uring::types::{Napi, NapiTracking};
use rustix_uring::{Errno, IoUring};

use crate::harness::Need::*;
use crate::harness::*;

const REGISTER: Need = Register(IORING_REGISTER_NAPI as u32);
const UNREGISTER: Need = Register(IORING_UNREGISTER_NAPI as u32);
const BUSY_POLLING: Need = Trial {
    what: "NAPI busy polling",
    refusal: Errno::INVAL,
    call: || Ok(IoUring::new(1)?.submitter().register_napi(&mut Napi::new())?),
};
const STATIC: Need = Trial {
    what: "NAPI busy polling of selected queues",
    refusal: Errno::INVAL,
    call: || {
        let mut napi = Napi::new().set_tracking(NapiTracking::STATIC);
        Ok(IoUring::new(1)?.submitter().register_napi(&mut napi)?)
    },
};

pub(crate) const CASES: &[Case] = &[
    Case::kinds("napi", &[REGISTER, UNREGISTER, BUSY_POLLING], napi),
    Case::kinds("napi_static", &[REGISTER, UNREGISTER, STATIC], napi_static),
    Case::kinds("napi_refused", &[REGISTER, UNREGISTER], napi_refused),
];

fn setting(napi: &Napi) -> (u32, bool) {
    (napi.busy_poll_timeout(), napi.prefer_busy_poll())
}

/// Each call returns the previous setting.
fn napi(ring: &mut dyn Ring) -> Result {
    let ring = ring.submitter();
    let mut napi = Napi::new().set_busy_poll_timeout(30).set_prefer_busy_poll(true);
    ring.register_napi(&mut napi)?;
    assert_eq!(setting(&napi), (0, false));
    napi = Napi::new().set_busy_poll_timeout(50);
    ring.register_napi(&mut napi)?;
    assert_eq!(setting(&napi), (30, true));
    ring.unregister_napi(&mut napi)?;
    assert_eq!(setting(&napi), (50, false));
    ring.unregister_napi(&mut napi)?;
    assert_eq!(napi.busy_poll_timeout(), 0);
    Ok(())
}

fn napi_static(ring: &mut dyn Ring) -> Result {
    /// No queue has this NAPI ID: the IDs of queues start above the number of CPUs.
    const ID: u32 = 100_000;
    let ring = ring.submitter();
    assert_eq!(ring.register_napi_add_id(ID), Err(Errno::INVAL));
    let mut napi = Napi::new().set_busy_poll_timeout(1).set_tracking(NapiTracking::STATIC);
    ring.register_napi(&mut napi)?;
    assert_eq!(ring.register_napi_del_id(ID), Err(Errno::NOENT));
    ring.register_napi_add_id(ID)?;
    assert_eq!(ring.register_napi_add_id(ID), Err(Errno::EXIST));
    ring.register_napi_del_id(ID)?;
    assert_eq!(ring.register_napi_del_id(ID), Err(Errno::NOENT));
    assert_eq!(ring.register_napi_add_id(1), Err(Errno::INVAL));
    napi = Napi::new();
    ring.register_napi(&mut napi)?;
    assert_eq!((setting(&napi), napi.tracking()), ((1, false), NapiTracking::STATIC));
    ring.unregister_napi(&mut napi)?;
    ring.register_napi(&mut napi)?;
    assert_eq!((setting(&napi), napi.tracking()), ((0, false), NapiTracking::INACTIVE));
    // This is the setting if nothing is registered, but it cannot be requested.
    let mut inactive = Napi::new().set_tracking(NapiTracking::INACTIVE);
    assert_eq!(ring.register_napi(&mut inactive), Err(Errno::INVAL));
    ring.unregister_napi(&mut napi)?;
    Ok(())
}

fn napi_refused(ring: &mut dyn Ring) -> Result {
    let polled = <IoUring>::builder().setup_iopoll().build(1)?;
    assert_eq!(polled.submitter().register_napi(&mut Napi::new()), Err(Errno::INVAL));
    let mut unknown = Napi::new().set_tracking(NapiTracking::from_raw(77));
    assert_eq!(ring.submitter().register_napi(&mut unknown), Err(Errno::INVAL));
    // SAFETY: the kernel reads and writes one struct, which contains no addresses.
    unsafe {
        let mut napi = io_uring_napi { pad: [1; 2], ..std::mem::zeroed() };
        let arg = (&raw mut napi).cast();
        assert_eq!(register(ring.as_fd(), IORING_REGISTER_NAPI as u32, arg, 1), Err(Errno::INVAL));
        let arg = std::ptr::null_mut();
        assert_eq!(
            register(ring.as_fd(), IORING_UNREGISTER_NAPI as u32, arg, 0),
            Err(Errno::INVAL)
        );
    }
    Ok(())
}
