// The shapes of the parameters, and the small functions that several files share.

@export()
@description('A model deployment. Capacity counts thousands of tokens a minute, or provisioned units (PTU).')
type deploymentType = {
  @minLength(2)
  @maxLength(64)
  name: string

  model: string
  version: string
  sku: 'Standard' | 'GlobalStandard' | 'DataZoneStandard' | 'ProvisionedManaged' | 'GlobalProvisionedManaged' | 'DataZoneProvisionedManaged'

  @minValue(1)
  capacity: int

  @description('The lowest number is asked first; the others are spill-over. Default 1.')
  @minValue(1)
  @maxValue(9999)
  priority: int?

  @description('The model name that callers write. Default: the name of the deployment.')
  alias: string?

  @description('Serves the calls that name no model. Default: the first chat model of the account.')
  isDefault: bool?

  @description('Name of a content filter policy of the account. Default: Microsoft.DefaultV2.')
  contentFilter: string?
}

@export()
@description('An Azure OpenAI account: a new one, or an existing one by its resource id.')
type accountType = {
  @description('Becomes the slug of the virtual key (secret vk-NAME): lower-case letters, digits and hyphens.')
  @minLength(2)
  @maxLength(40)
  name: string

  @description('Region of a new account. Default: the region of everything else.')
  location: string?

  @description('Resource id of an existing account: it gets the role assignment and a virtual key, nothing else changes.')
  resourceId: string?

  @minLength(1)
  deployments: deploymentType[]
}

@export()
@description('A private link: what to reach, and the names under which it must be found.')
type linkType = {
  name: string
  id: string
  group: string
  zones: string[]
}

@export()
@description('Whether a model answers chat requests, told by its name.')
func isChat(model string) bool =>
  empty(filter(
    ['embedding', 'image', 'dall-e', 'whisper', 'tts', 'transcribe', 'audio', 'realtime', 'sora'],
    word => contains(toLower(model), word)
  ))

@export()
@description('Name of the deployment that serves calls without a model: the marked one, else the first for chat, else the first.')
func defaultDeployment(deployments deploymentType[]) string =>
  first(concat(
    map(filter(deployments, item => item.?isDefault ?? false), item => item.name),
    map(filter(deployments, item => isChat(item.model)), item => item.name),
    map(deployments, item => item.name)
  ))!

@export()
@description('The value of a virtual key that signs in with a managed identity: no key is in it.')
func virtualKey(name string, resourceName string, clientId string, deployments deploymentType[]) object => {
  name: name
  provider: 'azure-openai'
  auth_mode: 'managed-identity'
  managed_client_id: clientId
  resource_name: resourceName
  deployments: map(deployments, item => {
    deployment: item.name
    alias: item.?alias ?? item.name
    api_version: 'v1'
    model: item.model
    is_default: item.name == defaultDeployment(deployments)
  })
  note: 'Written by the deployment; deploying again writes it again.'
}

@export()
@description('Every deployment of every account with its place in the order of preference.')
func placesOf(accounts accountType[]) array =>
  flatten(map(accounts, account => map(account.deployments, item => {
    account: account.name
    deployment: item.name
    model: item.model
    priority: item.?priority ?? 1
    weight: item.capacity
  })))

@export()
@description('One target of a gateway config.')
func targetOf(place object) object => {
  virtual_key: place.account
  override_params: { model: place.deployment }
  weight: place.weight
}

@export()
@description('Targets of one priority: the only one, or a load balancer that weighs by capacity.')
func groupOf(places array) object =>
  length(places) == 1
    ? targetOf(places[0])
    : { strategy: { mode: 'loadbalance' }, targets: map(places, place => targetOf(place)) }

@export()
@description('The gateway config of one model: the lowest priority number first, on to the next when it is throttled or fails.')
func configOf(places array) object => {
  strategy: { mode: 'fallback', on_status_codes: [404, 408, 410, 429, 500, 502, 503, 504] }
  // items() sorts by key, so the numbers are padded to compare as text.
  targets: map(items(groupBy(places, place => padLeft(place.priority, 4, '0'))), group => groupOf(group.value))
}
