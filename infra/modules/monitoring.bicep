// Log Analytics, Application Insights, the workbook and, in a private network, the private link scope.

param location string
param tags object
param token string
param privateNetwork bool

@minValue(30)
@maxValue(730)
param retentionInDays int

@description('Gigabytes a day after which ingestion stops until the next day; -1 for no cap.')
param dailyCapGb int

@description('Principal that may send telemetry.')
param appPrincipalId string

var access = privateNetwork ? 'Disabled' : 'Enabled'
var metricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb' // Monitoring Metrics Publisher

resource workspace 'Microsoft.OperationalInsights/workspaces@2026-03-01' = {
  name: 'log-${token}'
  location: location
  tags: tags
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: retentionInDays
    workspaceCapping: { dailyQuotaGb: dailyCapGb }
    features: { enableLogAccessUsingOnlyResourcePermissions: true, disableLocalAuth: true }
    publicNetworkAccessForIngestion: access
    publicNetworkAccessForQuery: access
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: 'appi-${token}'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    DisableLocalAuth: true
    publicNetworkAccessForIngestion: access
    publicNetworkAccessForQuery: access
  }
}

resource insightsAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: insights
  name: guid(insights.id, appPrincipalId, metricsPublisher)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', metricsPublisher)
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(workspace.id, 'gateway')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'LLM gateway'
    category: 'workbook'
    sourceId: workspace.id
    version: 'Notebook/1.0'
    serializedData: loadTextContent('../workbook.json')
  }
}

resource linkScope 'Microsoft.Insights/privateLinkScopes@2021-09-01' = if (privateNetwork) {
  name: 'ampls-${token}'
  location: 'global'
  tags: tags
  properties: {
    accessModeSettings: { ingestionAccessMode: 'PrivateOnly', queryAccessMode: 'PrivateOnly' }
  }
}

resource scopedWorkspace 'Microsoft.Insights/privateLinkScopes/scopedResources@2021-09-01' = if (privateNetwork) {
  parent: linkScope
  name: 'workspace'
  properties: { linkedResourceId: workspace.id }
}

resource scopedInsights 'Microsoft.Insights/privateLinkScopes/scopedResources@2021-09-01' = if (privateNetwork) {
  parent: linkScope
  name: 'insights'
  properties: { linkedResourceId: insights.id }
}

output workspaceId string = workspace.id
output insightsName string = insights.name
output linkScopeId string = privateNetwork ? linkScope.id : ''
