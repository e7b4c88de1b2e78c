/**
 * Session mailboxes between an Effect host and the sandboxes that its agents run in.
 *
 * @since 0.1.0
 */
export * as AirlockConfig from "./host/AirlockConfig.js"
export * as AirlockError from "./protocol/AirlockError.js"
export * as AirlockHost from "./host/AirlockHost.js"
export * as AttachmentContent from "./protocol/AttachmentContent.js"
export * as AttachmentName from "./protocol/AttachmentName.js"
export * as ChannelAdapter from "./host/ChannelAdapter.js"
export * as ContainerRuntime from "./host/ContainerRuntime.js"
export * as Delivery from "./host/Delivery.js"
export * as Doctor from "./host/Doctor.js"
export * as Mailbox from "./guest/Mailbox.js"
export * as Message from "./protocol/Message.js"
export * as MountPlan from "./host/MountPlan.js"
export * as PathSegment from "./protocol/PathSegment.js"
export * as Sequence from "./protocol/Sequence.js"
export * as Session from "./protocol/Session.js"
export * as SessionDb from "./host/SessionDb.js"
export * as SessionLayout from "./protocol/SessionLayout.js"
export * as SessionManager from "./host/SessionManager.js"
export * as SessionPaths from "./host/SessionPaths.js"
export * as SessionRegistry from "./host/SessionRegistry.js"
export * as Sweep from "./host/Sweep.js"
export * as SystemActions from "./host/SystemActions.js"
export * as Tables from "./protocol/Tables.js"
export * as Timestamp from "./protocol/Timestamp.js"
