// State tensors: what a session keeps from run to run. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/session.h"

namespace penlight {

/// The states behind the inputs, or outputs, that a caller gives: so many of a method's last ones.
size_t method_state_count(FlatTable method);

/// Allocates the method's states where the keeper, which is this session or one of the same program that outlives it, has none yet.
Status session_open_kept(penlight_session& session, penlight_error& error);
void session_close_kept(penlight_session& session);
/// Gives the states that this session reads and writes their first content.
void session_reset_kept(penlight_session& session);

/// `session_prepare` and `session_run` with the caller's inputs and outputs alone. A failed run leaves the states as they were.
Status session_prepare_kept(penlight_session& session, const penlight_tensor* inputs, size_t count, penlight_error& error);
Status session_run_kept(penlight_session& session, const penlight_tensor* inputs, size_t input_count, penlight_tensor* outputs,
                        size_t output_count, penlight_error& error);

/// The content of a state of the method.
penlight_tensor session_kept_tensor(const penlight_session& session, size_t index);

/// Semantic rules of the program's states, and of those of a method (kept.cpp).
Status verify_states(const penlight_program& program, penlight_error& error);
bool method_states_fit(const penlight_program& program, FlatTable method);

}  // namespace penlight
