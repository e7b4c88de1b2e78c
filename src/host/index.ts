/**
 * The host's half: the process that owns the sessions.
 *
 * @since 0.1.0
 */
export * as AirlockConfig from "./AirlockConfig.js"
export * as AirlockHost from "./AirlockHost.js"
export * as ChannelAdapter from "./ChannelAdapter.js"
export * as ContainerRuntime from "./ContainerRuntime.js"
export * as Delivery from "./Delivery.js"
export * as Doctor from "./Doctor.js"
export * as MountPlan from "./MountPlan.js"
export * as SessionDb from "./SessionDb.js"
export * as SessionManager from "./SessionManager.js"
export * as SessionPaths from "./SessionPaths.js"
export * as SessionRegistry from "./SessionRegistry.js"
export * as Sweep from "./Sweep.js"
export * as SystemActions from "./SystemActions.js"
export * as AirlockError from "../protocol/AirlockError.js"
export * as Message from "../protocol/Message.js"
export * as Session from "../protocol/Session.js"
