import * as EverySystemCall from "./EverySystemCall.js"
import { hostOperations } from "./Operations.js"

EverySystemCall.test(hostOperations)
